package main

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"uplinkd/configs"
	"uplinkd/uplink/preflight"
)

// daemonUser is who the daemon runs as under systemd (systemd/uplinkd.service).
const daemonUser = "uplinkd"

// unreadable returns the files of a configuration that the daemon's user may not read,
// though whoever checks it may. Where there is no such user there are none.
func unreadable(path string, c configs.Config) (list []preflight.Finding) {
	uid, gids, ok := userIDs(daemonUser)
	if !ok {
		return nil
	}
	for _, file := range append([]string{path}, configs.Files(c)...) {
		if at, ok := openTo(file, uid, gids); !ok {
			list = append(list, preflight.Finding{
				Severity: preflight.Problem,
				What:     fmt.Sprintf("%s cannot be read by the daemon's user %s, because of %s", file, daemonUser, at),
				Remedy:   fmt.Sprintf("chgrp %s %s && chmod g+rX %s", daemonUser, at, at),
			})
		}
	}
	return list
}

// readableByDaemon gives a file to the group of the daemon's user, where there is one.
func readableByDaemon(path string) error {
	if _, gids, ok := userIDs(daemonUser); ok && len(gids) > 0 && os.Geteuid() == 0 {
		return os.Chown(path, -1, int(gids[0]))
	}
	return nil
}

func userIDs(name string) (uid uint32, gids []uint32, ok bool) {
	u, err := user.Lookup(name)
	if err != nil {
		return 0, nil, false
	}
	id, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return 0, nil, false
	}
	groups, err := u.GroupIds()
	if err != nil {
		groups = []string{u.Gid}
	}
	for _, g := range groups {
		if n, err := strconv.ParseUint(g, 10, 32); err == nil {
			gids = append(gids, uint32(n))
		}
	}
	return uint32(id), gids, true
}

// openTo reports whether a user may read a file, by the modes of the file and of the
// directories above it, and which of them says no. What cannot be looked at says nothing.
func openTo(file string, uid uint32, gids []uint32) (at string, ok bool) {
	file, err := filepath.Abs(file)
	if err != nil {
		return "", true
	}
	bit := uint32(4) // read the file, search the directories
	for path := file; ; path, bit = filepath.Dir(path), 1 {
		info, err := os.Stat(path)
		if err != nil {
			return "", true
		}
		owner, known := info.Sys().(*syscall.Stat_t)
		if known && !permits(uint32(info.Mode().Perm()), owner.Uid, owner.Gid, uid, gids, bit) {
			return path, false
		}
		if path == "/" {
			return "", true
		}
	}
}

// permits reports whether a mode allows a user what a bit of its lowest three says.
func permits(mode, owner, group, uid uint32, gids []uint32, bit uint32) bool {
	switch {
	case uid == 0:
		return true
	case uid == owner:
		return mode&(bit<<6) != 0
	case slices.Contains(gids, group):
		return mode&(bit<<3) != 0
	}
	return mode&bit != 0
}
