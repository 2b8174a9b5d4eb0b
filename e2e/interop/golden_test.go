package interop

import (
	"bytes"
	"encoding/hex"
	"flag"
	"net/netip"
	"os"
	"testing"
)

var update = flag.Bool("update", false, "write the golden affiliate anew")

// golden is the file that the tests of package payload decrypt.
const golden = "../../discoveryhttp/payload/testdata/affiliate.hex"

// TestGoldenAffiliate decrypts the affiliate that is checked in. This package encrypted it
// with the key of the bytes 0 to 31:
//
//	go test ./e2e/interop -run TestGoldenAffiliate -update
func TestGoldenAffiliate(t *testing.T) {
	key := make([]byte, 32)
	for i := range key {
		key[i] = byte(i)
	}
	p := Peer{NodeID: "2VfX3nu67ZtZPl57IdJrU87BMjVWkSBJiL9ulP9TCnF", Name: "talos-default-worker-1", Address: netip.MustParseAddr("172.20.0.5"),
		PublicKey: "06D9QQOydzKrOL7oeLiqHy9OWE8KtmJzZII2A5/FLFI=", MeshAddress: netip.MustParseAddr("fd83:b1f7:fcb5:2802:8c13:71ff:feaf:7c94"),
		Endpoint: netip.MustParseAddrPort("172.20.0.5:51820")}
	request, err := p.update(key)
	if err != nil {
		t.Fatal(err)
	}
	sealed := request.get(3).bytes
	if *update {
		if err := os.WriteFile(golden, []byte(hex.EncodeToString(sealed)+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	kept, err := hex.DecodeString(string(bytes.TrimSpace(text)))
	if err != nil {
		t.Fatal(err)
	}
	want, err := openData(key, sealed)
	if err != nil {
		t.Fatal(err)
	}
	got, err := openData(key, kept)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("the affiliate that is checked in is %x, want %x", got, want)
	}
}
