package daemon

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"

	"uplinkd/configs"
)

// A Loaded configuration is one with the text that it was read from.
type Loaded struct {
	Config configs.Config
	Text   []byte
	// PassedOver is why this is not what the file says; "": it is.
	PassedOver string

	unread bool // there is a record of a trial that cannot be read
	stale  bool // there is one that no longer matters
}

// LoadToRun reads the configuration that a daemon starts with: that of its file, or, where
// that one was on trial and was not confirmed, the one before it. Where there has been a
// trial and the file cannot be read, that is the one before it, too.
func LoadToRun(path string) (Loaded, error) {
	text, err := readConfig(path)
	r, errRecord := readRecord(configs.StateDirOf(bytes.NewReader(text)))
	recorded := errRecord == nil && len(r.Before) > 0
	if recorded && r.refuses(text) {
		return r.load(path, r.passedOver())
	}
	var config configs.Config
	if err == nil {
		config, err = Parse(path, text)
	}
	if err != nil && recorded {
		return r.load(path, fmt.Sprintf("what was in force before %s is, for: %v", r.File, err))
	}
	if err == nil && recorded && sumOf(text) == sumOf(r.Before) {
		// What was tried may have left other tables and marks on the disk.
		config, err = parse(path, text, &r.Numbers)
	}
	unread := errRecord != nil && !errors.Is(errRecord, fs.ErrNotExist)
	return Loaded{Config: config, Text: text, unread: unread, stale: errRecord == nil}, err
}

// load returns the configuration that a record says was before the trial.
func (r *record) load(path, why string) (Loaded, error) {
	config, err := parse(path, r.Before, &r.Numbers)
	if err != nil {
		return Loaded{}, fmt.Errorf("%s is not taken, and what was before it cannot be: %w; %s", path, err, why)
	}
	return Loaded{Config: config, Text: r.Before, PassedOver: why}, nil
}
