package discoverykube

import (
	"context"
	"encoding/json"
	"errors"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/connrotation"
)

const (
	// requestTimeout limits all requests but watches.
	requestTimeout = 30 * time.Second
	// fieldManager owns the fields that are applied (server-side apply).
	fieldManager = "spanctl"
)

// connection is a client of an API server. It is safe for concurrent use.
type connection struct {
	client *rest.RESTClient
	// url is the address of the API server.
	url    string
	dialer *connrotation.Dialer
}

// connect makes the client that a kubeconfig or the pod's service account describes. It
// sends nothing yet.
func connect(o options, abandoned *atomic.Int32, clock *clock) (*connection, error) {
	config, err := loadConfig(o.kubeconfig)
	if err != nil {
		return nil, err
	}
	scheme := runtime.NewScheme()
	scheme.AddKnownTypes(corev1.SchemeGroupVersion, &corev1.Node{}, &corev1.NodeList{})
	metav1.AddToGroupVersion(scheme, corev1.SchemeGroupVersion)
	dialer := connrotation.NewDialer(dialMarked(o.dial))
	config.Dial = dialer.DialContext
	config.APIPath, config.GroupVersion = "/api", &corev1.SchemeGroupVersion
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	config.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	config.UserAgent = o.userAgent
	config.WarningHandlerWithContext = rest.NoWarnings{}
	requests, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	plugin := ""
	if config.ExecProvider != nil {
		plugin = config.ExecProvider.Command
	}
	requests.Transport = &clockTransport{requests.Transport, clock}
	requests.Transport = &boundedTransport{next: requests.Transport, plugin: plugin, abandoned: abandoned}
	client, err := rest.RESTClientForConfigAndClient(config, requests)
	if err != nil {
		return nil, err
	}
	return &connection{client: client, url: config.Host, dialer: dialer}, nil
}

// close closes the network connections, and ends the requests on them.
func (c *connection) close() { c.dialer.CloseAll() }

func (c *connection) list(ctx context.Context, options metav1.ListOptions) (*corev1.NodeList, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	var nodes corev1.NodeList
	err := c.client.Get().Resource("nodes").VersionedParams(&options, metav1.ParameterCodec).Do(ctx).Into(&nodes)
	return &nodes, err
}

func (c *connection) watch(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	options.Watch = true
	return c.client.Get().Resource("nodes").VersionedParams(&options, metav1.ParameterCodec).Watch(ctx)
}

// apply makes these annotations of a Node ours, by server-side apply: those that are ours
// and not among them are removed, and those of others stay. It fails if the Node has
// another UID, and never creates one.
func (c *connection) apply(ctx context.Context, name, uid string, annotations map[string]string) (*corev1.Node, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	metadata := map[string]any{"name": name, "uid": uid}
	if len(annotations) > 0 {
		metadata["annotations"] = annotations
	}
	body, err := json.Marshal(map[string]any{"apiVersion": "v1", "kind": "Node", "metadata": metadata})
	if err != nil {
		return nil, err
	}
	force := true
	options := metav1.PatchOptions{FieldManager: fieldManager, Force: &force}
	var node corev1.Node
	err = c.client.Patch(types.ApplyYAMLPatchType).Resource("nodes").Name(name).VersionedParams(&options, metav1.ParameterCodec).Body(body).Do(ctx).Into(&node)
	return &node, err
}

// needsNewConnection reports whether a request that failed with err may succeed on a new
// connection, with a kubeconfig and credentials that are read again.
func needsNewConnection(err error) bool {
	return err != nil && !errors.Is(err, context.Canceled) &&
		(apierrors.IsUnauthorized(err) || apierrors.ReasonForError(err) == metav1.StatusReasonUnknown)
}

// isStale reports whether the reflector resolves err by itself: the version that it asked
// for is too old, or of another API server.
func isStale(err error) bool {
	return apierrors.IsResourceExpired(err) || apierrors.IsGone(err) || apierrors.HasStatusCause(err, metav1.CauseTypeResourceVersionTooLarge)
}
