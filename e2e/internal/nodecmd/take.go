package nodecmd

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"
)

// retryTake is the time after which an answer that is no answer of the store is asked for again.
const retryTake = 100 * time.Millisecond

// take has args[1] machines take the invitation whose name is args[0], in hexadecimal, all at once, each
// at one of the discovery servers args[2:]. A machine asks again, under the ID of its request, as long
// as the server is busy. It prints how many machines got the invitation, and what the others were told.
func take(args []string) error {
	name, err := hex.DecodeString(args[0])
	if err != nil {
		return err
	}
	machines, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	servers := args[2:]
	told := make([]string, machines)
	var group sync.WaitGroup
	for n := range machines {
		group.Go(func() { told[n] = takeOne(servers[n%len(servers)], name) })
	}
	group.Wait()
	counts := map[string]int{}
	for _, text := range told {
		counts[text]++
	}
	return json.NewEncoder(os.Stdout).Encode(counts)
}

// takeOne is one machine of take. It returns "taken", or why not.
func takeOne(server string, name []byte) string {
	id := make([]byte, len(name))
	_, _ = rand.Read(id) // it never returns an error
	body, err := json.Marshal(map[string][]byte{"name": name, "requestId": id})
	if err != nil {
		return err.Error()
	}
	for {
		response, err := http.Post(server+"/spanctl.invite.v1.InviteService/Take", "application/json", bytes.NewReader(body)) //nolint:noctx // the process ends with the test
		if err != nil {
			return err.Error()
		}
		answer, err := io.ReadAll(response.Body)
		if err := errors.Join(err, response.Body.Close()); err != nil {
			return err.Error()
		}
		switch response.StatusCode {
		case http.StatusOK:
			return "taken"
		case http.StatusServiceUnavailable, http.StatusTooManyRequests:
			time.Sleep(retryTake)
			continue
		}
		var said struct{ Code, Message string }
		if err := json.Unmarshal(answer, &said); err != nil {
			return fmt.Sprintf("%d %s", response.StatusCode, answer)
		}
		return said.Code + ": " + said.Message
	}
}
