package discoveryhttp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
)

// lostError is the error of a connection that ended in the middle of an answer. Its text is that of
// the error that it has: others read it.
type lostError struct{ error }

func (e *lostError) Unwrap() error { return e.error }

// body is the body of an answer, with the errors of its connection told apart.
type body struct{ io.ReadCloser }

// Read implements io.Reader.
func (b body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = &lostError{err}
	}
	return n, err
}

// proxyError is the error of a call that a proxy has not passed on.
type proxyError struct {
	// proxy is its URL, without the password.
	proxy string
	err   error
}

func (e *proxyError) Error() string { return fmt.Sprintf("through the proxy %s: %v", e.proxy, e.err) }

func (e *proxyError) Unwrap() error { return e.err }

// throughProxy returns the error of a call, with the proxy where that is what failed.
func (b bounded) throughProxy(req *http.Request, err error) error {
	network, is := errors.AsType[*net.OpError](err)
	if (!is || network.Op != "proxyconnect") && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if proxy, _ := b.proxy(req); proxy != nil {
		return &proxyError{proxy.Redacted(), err}
	}
	return err
}

// checkConnect returns an error where a proxy does not make a connection.
func checkConnect(_ context.Context, proxy *url.URL, _ *http.Request, answer *http.Response) error {
	if answer.StatusCode == http.StatusOK {
		return nil
	}
	return &proxyError{proxy.Redacted(), &statusError{error: errors.New(answer.Status), status: answer.StatusCode}}
}
