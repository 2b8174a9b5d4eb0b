package gateway

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spanmesh/span/reconciler/portmap"
)

var (
	// fakeGateway and fakeOwn are on the loopback link of the test's namespace.
	fakeGateway = netip.MustParseAddr("127.0.0.2")
	fakeOwn     = netip.MustParseAddr("127.0.0.1")
	fakeOuter   = netip.MustParseAddrPort("203.0.113.9:40001")
)

// fakeCall returns a call of the fake gateway.
func fakeCall(kind portmap.Kind, protocol portmap.Protocol) *portmap.Call {
	return &portmap.Call{Kind: kind, Protocol: protocol, Gateway: fakeGateway, Own: fakeOwn, Port: 51820,
		External: netip.AddrPortFrom(netip.Addr{}, 51820), Lifetime: time.Hour, Nonce: portmap.Nonce{1, 2, 3}}
}

// serveUDP answers each datagram to an address with what answer returns, until the test ends.
func serveUDP(t *testing.T, at netip.AddrPort, answer func(request []byte) [][]byte) {
	t.Helper()
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	go func() {
		buffer := make([]byte, 2048)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buffer)
			if err != nil {
				return
			}
			for _, m := range answer(slices.Clone(buffer[:n])) {
				_, _ = conn.WriteToUDPAddrPort(m, from)
			}
		}
	}()
}

// servePCP is a gateway with PCP that gives the port of fakeOuter.
func servePCP(request []byte) [][]byte {
	if len(request) < pcpHeader || request[0] != pcpVersion {
		return [][]byte{{natPMPVersion, natPMPResponse, 0, 1, 0, 0, 0, 9}}
	}
	m := slices.Clone(request)
	m[1] |= pcpResponse
	clear(m[8:24])
	binary.BigEndian.PutUint32(m[8:], 77)
	if request[1] == pcpMap {
		binary.BigEndian.PutUint16(m[42:], fakeOuter.Port())
		put16(m[44:60], fakeOuter.Addr())
	}
	return [][]byte{m}
}

// serveNATPMP is a gateway with NAT-PMP that gives the port of fakeOuter.
func serveNATPMP(request []byte) [][]byte {
	if len(request) < 2 || request[0] != natPMPVersion {
		return [][]byte{{natPMPVersion, natPMPResponse, 0, 1, 0, 0, 0, 9}}
	}
	m := []byte{natPMPVersion, natPMPResponse | request[1], 0, 0, 0, 0, 0, 77}
	if request[1] == natPMPAddress {
		return [][]byte{append(m, fakeOuter.Addr().AsSlice()...)}
	}
	m = append(m, request[4:6]...)
	m = binary.BigEndian.AppendUint16(m, fakeOuter.Port())
	return [][]byte{append(m, request[8:12]...)}
}

// fakeIGD is a gateway with UPnP.
type fakeIGD struct {
	mu sync.Mutex
	// ports has the machine's port by the outer one.
	ports map[string]string
	// taken are outer ports that others have.
	taken map[string]bool
}

// serveIGD answers at the gateway's address until the test ends.
func serveIGD(t *testing.T, igd *fakeIGD) {
	t.Helper()
	listener, err := net.Listen("tcp4", netip.AddrPortFrom(fakeGateway, 0).String())
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /d.xml", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, description1) })
	mux.Handle("POST /c", igd)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: time.Second}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	serveUDP(t, netip.AddrPortFrom(fakeGateway, searchGroup.Port()), func([]byte) [][]byte {
		return [][]byte{
			[]byte("HTTP/1.1 200 OK\r\nST: " + igdDevice + "1\r\nLOCATION: http://127.0.0.3/d.xml\r\n\r\n"), // of another host
			[]byte("HTTP/1.1 200 OK\r\nST: " + igdDevice + "1\r\nLOCATION: http://" + listener.Addr().String() + "/d.xml\r\n\r\n"),
		}
	})
}

const description1 = `<root xmlns="urn:schemas-upnp-org:device-1-0"><device><deviceType>urn:schemas-upnp-org:device:InternetGatewayDevice:1</deviceType>
<serviceList><service><serviceType>urn:schemas-upnp-org:service:WANIPConnection:1</serviceType><serviceId>w</serviceId>
<controlURL>/c</controlURL><SCPDURL>/s</SCPDURL><eventSubURL>/e</eventSubURL></service></serviceList></device></root>`

// ServeHTTP implements http.Handler.
func (f *fakeIGD) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	body := new(strings.Builder)
	_ = r.Write(body)
	value := func(name string) string {
		_, rest, _ := strings.Cut(body.String(), "<"+name+">")
		v, _, _ := strings.Cut(rest, "<")
		return v
	}
	action := strings.Trim(r.Header.Get("SOAPAction"), `"`)
	_, action, _ = strings.Cut(action, "#")
	external, out, code := value("NewExternalPort"), "", 0
	switch action {
	case "AddPortMapping":
		switch {
		case value("NewLeaseDuration") != "0":
			code = codeOnlyPermanent
		case f.taken[external]:
			code = codeConflict
		default:
			f.ports[external] = value("NewInternalPort")
		}
	case "DeletePortMapping":
		delete(f.ports, external)
	case "GetExternalIPAddress":
		out = "<NewExternalIPAddress>" + fakeOuter.Addr().String() + "</NewExternalIPAddress>"
	case "GetSpecificPortMappingEntry":
		if f.ports[external] == "" {
			code = codeNoEntry
		}
		out = "<NewInternalPort>" + f.ports[external] + "</NewInternalPort><NewInternalClient>" + fakeOwn.String() +
			"</NewInternalClient><NewEnabled>1</NewEnabled><NewPortMappingDescription/><NewLeaseDuration>0</NewLeaseDuration>"
	}
	text := `<u:` + action + `Response xmlns:u="urn:schemas-upnp-org:service:WANIPConnection:1">` + out + `</u:` + action + `Response>`
	if code != 0 {
		w.WriteHeader(http.StatusInternalServerError)
		text = fmt.Sprintf(`<s:Fault><faultcode>s:Client</faultcode><faultstring>UPnPError</faultstring><detail>`+
			`<UPnPError xmlns="urn:schemas-upnp-org:control-1-0"><errorCode>%d</errorCode></UPnPError></detail></s:Fault>`, code)
	}
	_, _ = fmt.Fprint(w, `<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>`+text+`</s:Body></s:Envelope>`)
}
