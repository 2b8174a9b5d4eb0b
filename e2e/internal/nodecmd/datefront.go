package nodecmd

import (
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"time"
)

// dateFront serves the URL args[1] at the address args[0], by HTTP/1.1, as a machine does whose
// clock is ahead by the duration args[2].
func dateFront(args []string) error {
	target, err := url.Parse(args[1])
	if err != nil {
		return err
	}
	ahead, err := time.ParseDuration(args[2])
	if err != nil {
		return err
	}
	front := &http.Server{Addr: args[0], ReadHeaderTimeout: time.Minute, Handler: &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(target) },
		FlushInterval: -1,
		ModifyResponse: func(r *http.Response) error {
			r.Header.Set("Date", time.Now().Add(ahead).UTC().Format(http.TimeFormat))
			return nil
		},
	}}
	fmt.Print(Ready)
	return front.ListenAndServe()
}
