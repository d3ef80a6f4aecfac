package kernel

import (
	"context"

	"golang.org/x/sys/unix"

	"uplinkd/internal/nlmsg"
)

// Of generic netlink (linux/genetlink.h).
const (
	genlControl    = 16 // GENL_ID_CTRL
	genlGetFamily  = 3  // CTRL_CMD_GETFAMILY
	genlFamilyID   = 1  // CTRL_ATTR_FAMILY_ID
	genlFamilyName = 2  // CTRL_ATTR_FAMILY_NAME
)

// genericFamily returns the number of a family of generic netlink; ENOENT: there is none.
func genericFamily(ctx context.Context, ask asker, name string) (uint16, error) {
	family := uint16(0)
	body := nlmsg.AppendAttr([]byte{genlGetFamily, 1, 0, 0}, genlFamilyName, append([]byte(name), 0))
	err := ask(ctx, nlmsg.Request{Protocol: unix.NETLINK_GENERIC, Type: genlControl, Body: body},
		func(m nlmsg.Message) bool {
			if b := nlmsg.Attr(m.Body[min(4, len(m.Body)):], genlFamilyID); len(b) == 2 {
				family = native.Uint16(b)
			}
			return false
		})
	if err == nil && family == 0 {
		err = unix.ENOENT
	}
	return family, err
}
