package server

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// expireInterval is how often expired affiliates are looked for.
	expireInterval = 15 * time.Second
	// headerTimeout and idleTimeout bound what a slow client can hold.
	headerTimeout = 10 * time.Second
	idleTimeout   = 2 * time.Minute
	// shutdownTimeout is how long calls have to end once the server stops.
	shutdownTimeout = 5 * time.Second
)

// Run serves on listener until ctx ends, and closes the listener and the store.
// With certificates it speaks HTTP/1.1 and HTTP/2 over TLS, without them both in
// the clear.
func Run(ctx context.Context, listener net.Listener, certificates *tls.Config, s Store, log *slog.Logger) error {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(certificates != nil)
	protocols.SetUnencryptedHTTP2(certificates == nil)
	httpServer := &http.Server{
		Handler:           New(ctx, s, log).Handler(),
		Protocols:         protocols,
		TLSConfig:         certificates,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error {
		var err error
		if certificates != nil {
			err = httpServer.ServeTLS(listener, "", "")
		} else {
			err = httpServer.Serve(listener)
		}
		if errors.Is(err, http.ErrServerClosed) {
			return nil
		}
		return err
	})
	group.Go(func() error {
		<-groupCtx.Done()
		stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
		defer cancel()
		if err := httpServer.Shutdown(stopCtx); err != nil {
			return httpServer.Close()
		}
		return nil
	})
	group.Go(func() error { return expire(groupCtx, s, log) })
	return errors.Join(group.Wait(), s.Close())
}

func expire(ctx context.Context, s Store, log *slog.Logger) error {
	ticker := time.NewTicker(expireInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-ticker.C:
			if err := s.Expire(ctx, now); err != nil {
				log.Error("removing expired affiliates failed", "error", err)
			}
		}
	}
}
