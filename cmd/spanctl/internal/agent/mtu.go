package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

// mtuFile is beside the socket. Network plugins, and scripts that set them up, read it.
const mtuFile = "mtu.env"

// vxlanOverhead is what a network plugin's tunnel adds to each packet, in bytes: IPv6,
// UDP, VXLAN and Ethernet headers (RFC 7348).
const vxlanOverhead = 40 + 8 + 8 + 14

// publishMTU writes two MTUs for network plugins: that of pods whose traffic goes into
// the mesh as it is, and that of pods whose plugin puts it into VXLAN before. An mtu of 0
// stands for no link: it removes the file.
func publishMTU(dir string, mtu int) error {
	path := filepath.Join(dir, mtuFile)
	if mtu == 0 {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	text := fmt.Sprintf("SPANCTL_MTU=%d\nSPANCTL_VXLAN_MTU=%d\n", mtu, mtu-vxlanOverhead)
	return renameio.WriteFile(path, []byte(text), 0o644, renameio.WithTempDir(dir), renameio.IgnoreUmask())
}
