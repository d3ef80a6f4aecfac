package dhcp

// Unwrap is unwrap, for a fuzz test.
func Unwrap(b []byte) { _, _ = unwrap(b) }
