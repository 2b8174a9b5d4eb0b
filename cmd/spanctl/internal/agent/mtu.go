package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

// mtuFile is beside the socket. Others read it: network plugins, and scripts that set
// them up.
const mtuFile = "mtu.env"

// What a tunnel of the network plugin adds to each packet, in bytes: IPv6, UDP, VXLAN and
// an Ethernet header (RFC 7348).
const vxlanOverhead = 40 + 8 + 8 + 14

// tellMTU writes the MTU of the link for network plugins: that of pods whose traffic
// goes into the mesh as it is, and that of pods whose plugin puts it into VXLAN before.
// 0 stands for no link.
func tellMTU(dir string, mtu int) error {
	path := filepath.Join(dir, mtuFile)
	if mtu == 0 {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	text := fmt.Sprintf("SPANCTL_MTU=%d\nSPANCTL_VXLAN_MTU=%d\n", mtu, mtu-vxlanOverhead)
	return renameio.WriteFile(path, []byte(text), 0o644, renameio.WithTempDir(dir), renameio.IgnoreUmask())
}
