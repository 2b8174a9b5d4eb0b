package discoverykube

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"k8s.io/client-go/util/connrotation"

	"github.com/spanmesh/span/reconciler"
)

const (
	dialTimeout = 5 * time.Second
	// answerTimeout limits the time until an answer begins. Some proxies hold the answer to
	// a watch back until its first event, which is a bookmark after a minute at most.
	answerTimeout = 2 * time.Minute
	// maxAbandoned limits the requests that wait for a credential plugin after they ended
	// for their caller.
	maxAbandoned = 8
)

// dialMarked dials by marked, which keeps packets outside of the mesh. If that fails, it
// dials without the mark: the API server may have an address in the mesh alone.
func dialMarked(marked reconciler.DialFunc) connrotation.DialFunc {
	plain := net.Dialer{Timeout: dialTimeout}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if marked == nil {
			return plain.DialContext(ctx, network, address)
		}
		markedCtx, cancel := context.WithTimeout(ctx, dialTimeout)
		defer cancel()
		conn, err := marked(markedCtx, network, address)
		if err == nil {
			return conn, nil
		}
		if conn, plainErr := plain.DialContext(ctx, network, address); plainErr == nil {
			return conn, nil
		}
		return nil, err
	}
}

// boundedTransport is a transport whose requests end with their context, or if no answer begins
// within answerTimeout. client-go's own transport waits for a credential plugin without
// regard to the context.
type boundedTransport struct {
	next http.RoundTripper
	// plugin is the command of the kubeconfig's credential plugin, for messages.
	plugin string
	// abandoned counts the requests that next still works on after RoundTrip returned.
	abandoned *atomic.Int32
}

func (t *boundedTransport) RoundTrip(request *http.Request) (*http.Response, error) {
	if t.abandoned.Load() >= maxAbandoned {
		return nil, fmt.Errorf("%d requests wait for the credential plugin %q", maxAbandoned, t.plugin)
	}
	type answer struct {
		response *http.Response
		err      error
	}
	ctx, cancel := context.WithCancel(request.Context())
	answers, abandon := make(chan answer), make(chan struct{})
	go func() {
		response, err := t.next.RoundTrip(request.WithContext(ctx))
		select {
		case answers <- answer{response, err}:
		case <-abandon:
			t.abandoned.Add(-1)
			if err == nil {
				_ = response.Body.Close()
			}
		}
	}()
	timeout := time.NewTimer(answerTimeout)
	defer timeout.Stop()
	var err error
	select {
	case a := <-answers:
		if a.err != nil {
			cancel()
			return nil, a.err
		}
		a.response.Body = &cancelingBody{a.response.Body, cancel}
		return a.response, nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-timeout.C:
		err = fmt.Errorf("no answer within %v", answerTimeout)
	}
	if t.plugin != "" {
		err = fmt.Errorf("%w (credential plugin: %q)", err, t.plugin)
	}
	t.abandoned.Add(1)
	close(abandon)
	cancel()
	return nil, err
}

// cancelingBody releases the context of a request with its response's body.
type cancelingBody struct {
	io.ReadCloser
	cancel context.CancelFunc
}

func (b *cancelingBody) Close() error {
	defer b.cancel()
	return b.ReadCloser.Close()
}
