package discoverykube

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"time"
)

// api is the part of the Kubernetes API that is needed: Nodes, listed, watched and
// applied.
type api struct {
	access *access
	client *http.Client
}

const (
	// page is how many Nodes are listed at once.
	page = 500
	// maxPage and maxEvent bound what the API server may send at once, in bytes. A Node
	// with all images of a large machine has some 60 KB.
	maxPage  = 256 << 20
	maxEvent = 4 << 20
	// A watch is asked to end after watchAtLeast to twice that, so that those of a
	// cluster do not begin again together.
	watchAtLeast = 5 * time.Minute
	// requestTimeout bounds all but watches.
	requestTimeout = 30 * time.Second
	// fieldManager is who owns the fields that are applied.
	fieldManager = "spanctl"
)

// apiError is an answer of the API server that is no success.
type apiError struct {
	Status  int    `json:"code"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

func (e *apiError) Error() string {
	if e.Message == "" {
		return http.StatusText(e.Status)
	}
	return e.Message
}

// errUnreadable says that what came is no answer of an API server.
var errUnreadable = errors.New("cannot be read")

// isGone tells that a watch has to begin with a list anew.
func isGone(err error) bool {
	var e *apiError
	return errors.As(err, &e) && (e.Status == http.StatusGone || e.Reason == "Expired")
}

func statusOf(err error) int {
	var e *apiError
	if errors.As(err, &e) {
		return e.Status
	}
	return 0
}

// wireNode is a Node in JSON, as far as it is read.
type wireNode struct {
	Metadata struct {
		Name            string            `json:"name"`
		UID             string            `json:"uid"`
		ResourceVersion string            `json:"resourceVersion"`
		Annotations     map[string]string `json:"annotations"`
		Labels          map[string]string `json:"labels"`
	} `json:"metadata"`
	Spec struct {
		PodCIDR  string   `json:"podCIDR"`
		PodCIDRs []string `json:"podCIDRs"`
	} `json:"spec"`
	Status struct {
		Addresses []struct {
			Type    string `json:"type"`
			Address string `json:"address"`
		} `json:"addresses"`
		NodeInfo struct {
			OSImage string `json:"osImage"`
		} `json:"nodeInfo"`
	} `json:"status"`
}

// node keeps what is needed of a Node.
func (w *wireNode) node() Node {
	n := Node{Name: w.Metadata.Name, UID: w.Metadata.UID, OSImage: w.Status.NodeInfo.OSImage, Annotations: map[string]string{}, Labels: map[string]string{}}
	for _, name := range annotations {
		if value, has := w.Metadata.Annotations[name]; has {
			n.Annotations[name] = value
		}
	}
	for _, name := range controlPlaneLabels {
		if value, has := w.Metadata.Labels[name]; has {
			n.Labels[name] = value
		}
	}
	for _, a := range w.Status.Addresses {
		if a.Type == "Hostname" {
			n.Hostname = a.Address
		}
	}
	cidrs := w.Spec.PodCIDRs
	if len(cidrs) == 0 && w.Spec.PodCIDR != "" {
		cidrs = []string{w.Spec.PodCIDR}
	}
	for _, text := range cidrs {
		if p, err := netip.ParsePrefix(text); err == nil {
			n.PodCIDRs = append(n.PodCIDRs, p.Masked())
		}
	}
	return n
}

// open makes a request and returns the body of a successful answer.
func (a *api) open(ctx context.Context, method, path string, query url.Values, kind string, body []byte) (io.ReadCloser, error) {
	u := a.access.server.JoinPath(path)
	u.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	if a.access.token != nil {
		token, err := a.access.token()
		if err != nil {
			return nil, err
		}
		req.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := a.client.Do(req)
	if err != nil {
		return nil, err
	}
	if response.StatusCode/100 == 2 {
		return response.Body, nil
	}
	defer func() { _ = response.Body.Close() }()
	answer := &apiError{}
	if text, err := io.ReadAll(io.LimitReader(response.Body, 64<<10)); err == nil {
		_ = json.Unmarshal(text, answer) // a proxy may answer, too
	}
	answer.Status = response.StatusCode
	return nil, answer
}

// nodeQuery asks for the Node with a name, or for all if it is empty.
func nodeQuery(name string) url.Values {
	query := url.Values{}
	if name != "" {
		query.Set("fieldSelector", "metadata.name="+name)
	}
	return query
}

// list reads the Nodes and the version of the list.
func (a *api) list(ctx context.Context, name string) (nodes []Node, version string, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	query := nodeQuery(name)
	query.Set("limit", strconv.Itoa(page))
	for {
		var answer struct {
			Metadata struct {
				ResourceVersion string `json:"resourceVersion"`
				Continue        string `json:"continue"`
			} `json:"metadata"`
			Items []wireNode `json:"items"`
		}
		if err := a.call(ctx, http.MethodGet, "api/v1/nodes", query, "", nil, &answer); err != nil {
			return nil, "", err
		}
		for i := range answer.Items {
			nodes = append(nodes, answer.Items[i].node())
		}
		if answer.Metadata.Continue == "" {
			return nodes, answer.Metadata.ResourceVersion, nil
		}
		query.Set("continue", answer.Metadata.Continue)
	}
}

// call makes a request and decodes the answer.
func (a *api) call(ctx context.Context, method, path string, query url.Values, kind string, body []byte, answer any) error {
	reader, err := a.open(ctx, method, path, query, kind, body)
	if err != nil {
		return err
	}
	defer func() { _ = reader.Close() }()
	if err := json.NewDecoder(io.LimitReader(reader, maxPage)).Decode(answer); err != nil {
		return fmt.Errorf("the answer of the API server %w: %w", errUnreadable, err)
	}
	return nil
}

// watch calls take for each Node that changes after a version, and returns the version
// that it came to. Its end is no error.
func (a *api) watch(ctx context.Context, name, version string, take func(n Node, deleted bool)) (string, error) {
	query := nodeQuery(name)
	query.Set("watch", "true")
	query.Set("allowWatchBookmarks", "true")
	query.Set("resourceVersion", version)
	patience := watchAtLeast + rand.N(watchAtLeast)
	query.Set("timeoutSeconds", strconv.Itoa(int(patience.Seconds())))
	body, err := a.open(ctx, http.MethodGet, "api/v1/nodes", query, "", nil)
	if err != nil {
		return version, err
	}
	defer func() { _ = body.Close() }()
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, maxEvent)
	for lines.Scan() {
		var event struct {
			Type   string          `json:"type"`
			Object json.RawMessage `json:"object"`
		}
		if err := json.Unmarshal(lines.Bytes(), &event); err != nil {
			return version, fmt.Errorf("an event of the API server %w: %w", errUnreadable, err)
		}
		if event.Type == "ERROR" {
			e := &apiError{}
			if err := json.Unmarshal(event.Object, e); err != nil {
				return version, fmt.Errorf("an event of the API server %w: %w", errUnreadable, err)
			}
			return version, e
		}
		var w wireNode
		if err := json.Unmarshal(event.Object, &w); err != nil {
			return version, fmt.Errorf("an event of the API server %w: %w", errUnreadable, err)
		}
		version = w.Metadata.ResourceVersion
		if event.Type != "BOOKMARK" {
			take(w.node(), event.Type == "DELETED")
		}
	}
	return version, lines.Err()
}

// apply makes the annotations of a Node ours: those that are not among them any more,
// and that we made, go. It is for the Node with that UID, and makes none.
func (a *api) apply(ctx context.Context, name, uid string, annotations map[string]string) (Node, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	metadata := map[string]any{"name": name, "uid": uid}
	if len(annotations) > 0 {
		metadata["annotations"] = annotations
	}
	body, err := json.Marshal(map[string]any{"apiVersion": "v1", "kind": "Node", "metadata": metadata})
	if err != nil {
		return Node{}, err
	}
	query := url.Values{"fieldManager": {fieldManager}, "force": {"true"}}
	var w wireNode
	err = a.call(ctx, http.MethodPatch, "api/v1/nodes/"+url.PathEscape(name), query, "application/apply-patch+yaml", body, &w)
	return w.node(), err
}
