package nodecmd

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
)

// post sends the JSON args[1] to the URL args[0], or gets the URL if there is no args[1].
// It prints the status code, a space and the answer.
func post(args []string) error {
	method, body := http.MethodGet, io.Reader(nil)
	if len(args) > 1 {
		method, body = http.MethodPost, strings.NewReader(args[1])
	}
	request, err := http.NewRequestWithContext(context.Background(), method, args[0], body)
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if _, err := fmt.Print(response.StatusCode, " "); err != nil {
		return err
	}
	_, err = io.Copy(os.Stdout, response.Body)
	return err
}
