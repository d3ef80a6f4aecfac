package imports

import (
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
)

// read returns the text of a file. One that is too long is an error.
func read(root fs.FS, name string) (string, error) {
	f, err := root.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close() //nolint:errcheck // only read
	text, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && len(text) > most {
		err = fmt.Errorf("%s: more than %d bytes: this cannot be a configuration", name, most)
	}
	return string(text), err
}

// eachFile reads the files of a directory whose names match a pattern, in their order.
func eachFile(root fs.FS, dir, pattern string, take func(name, text string) error) error {
	names, err := fs.Glob(root, path.Join(dir, pattern))
	if err != nil {
		return err
	}
	for _, name := range names {
		text, err := read(root, name)
		if err == nil {
			err = take("/"+name, text)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// A line is one of a file, without its comment.
type line struct {
	place
	text string
}

// linesOf splits a text into lines, with those that a backslash continues put together.
// Comments and empty lines are left out.
func linesOf(file, text string) []line {
	var list []line
	begun := ""
	from := 0
	for n, s := range strings.Split(text, "\n") {
		s = strings.TrimRight(s, "\r")
		if begun == "" {
			from = n + 1
		}
		if cut, more := strings.CutSuffix(s, "\\"); more {
			begun += cut + " "
			continue
		}
		s = strings.TrimSpace(begun + s)
		begun = ""
		if s != "" && !strings.HasPrefix(s, "#") && !strings.HasPrefix(s, ";") {
			list = append(list, line{place{file, from}, s})
		}
	}
	return list
}

// wordsOf splits a text as a shell does: at white space, but within quotes, up to a comment.
// It expands nothing.
func wordsOf(s string) (list []string) {
	var word strings.Builder
	begun, quote := false, rune(0)
	end := func() {
		if begun {
			list = append(list, word.String())
		}
		word.Reset()
		begun = false
	}
	for _, c := range s {
		switch {
		case quote != 0:
			if c == quote {
				quote = 0
			} else {
				word.WriteRune(c)
			}
		case c == '"' || c == '\'':
			begun, quote = true, c
		case c == ' ' || c == '\t':
			end()
		case c == '#' && !begun:
			return list
		default:
			begun = true
			word.WriteRune(c)
		}
	}
	end()
	return list
}
