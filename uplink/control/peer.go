package control

import (
	"encoding/json"
	"net"
	"net/http"
	"os"
	"os/user"
	"strconv"

	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"
)

// How often those may ask who may not order: a second, and at once.
const (
	askRate  = 100
	askBurst = 200
)

// guard lets everybody at the socket ask, so and so often, and root and this process's own
// user order, or have a plan made: what it answers may come from files of root's. Whom the
// socket lets in at all is for its mode and group to say.
func guard(next http.Handler) http.Handler {
	often := rate.NewLimiter(askRate, askBurst)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case mayOrder(r):
		case r.Method != http.MethodGet:
			refuse(w, http.StatusForbidden, who(r)+" may ask, and not order: be root")
			return
		case !often.Allow():
			refuse(w, http.StatusTooManyRequests, "asked too often: wait a moment")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// mayOrder reports whether who asks is root or this process's own user.
func mayOrder(r *http.Request) bool {
	cred := credOf(r)
	return cred != nil && (cred.Uid == 0 || int(cred.Uid) == os.Geteuid())
}

func refuse(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(failure{text}) // who does not listen misses it
}

type peer struct{}

// credOf returns who is at the other end of the socket (SO_PEERCRED, unix(7)), nil when
// the kernel does not say.
func credOf(r *http.Request) *unix.Ucred {
	conn, ok := r.Context().Value(peer{}).(*net.UnixConn)
	if !ok {
		return nil
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil
	}
	var cred *unix.Ucred
	if e := raw.Control(func(fd uintptr) {
		cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); e != nil || err != nil {
		return nil
	}
	return cred
}

// who names the user at the other end of the socket.
func who(r *http.Request) string {
	cred := credOf(r)
	if cred == nil {
		return "somebody"
	}
	id := strconv.FormatUint(uint64(cred.Uid), 10)
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return "uid " + id
}
