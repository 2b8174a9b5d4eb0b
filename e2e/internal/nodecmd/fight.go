package nodecmd

import (
	"fmt"

	vnetlink "github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// revertMTU sets the MTU of the mesh's link to 1300 whenever another program changes it, at once.
func revertMTU([]string) error {
	updates, done := make(chan vnetlink.LinkUpdate), make(chan struct{})
	if err := vnetlink.LinkSubscribe(updates, done); err != nil {
		return err
	}
	link, err := vnetlink.LinkByName(MeshLink)
	if err != nil {
		return err
	}
	go func() {
		for u := range updates {
			if u.Attrs().Index == link.Attrs().Index && u.Attrs().MTU != 1300 && u.Header.Type == unix.RTM_NEWLINK {
				if err := vnetlink.LinkSetMTU(link, 1300); err != nil {
					fmt.Println(err)
				}
			}
		}
	}()
	if err := vnetlink.LinkSetMTU(link, 1300); err != nil {
		return err
	}
	return AwaitSignal() // the subscription ends with the process
}
