package imports

// A section is one of a UCI file: config TYPE 'NAME', with options and lists.
type section struct {
	place
	kind, name string
	values     map[string][]string
	lines      map[string]line // where an option or list stands
}

func (s *section) option(name string) string {
	if list := s.values[name]; len(list) > 0 {
		return list[len(list)-1]
	}
	return ""
}

// uci reads the sections of a UCI file.
func uci(name, text string) (list []section, strange []line) {
	for _, l := range linesOf(name, text) {
		words := wordsOf(l.text)
		switch {
		case len(words) >= 2 && words[0] == "config":
			s := section{place: l.place, kind: words[1], values: map[string][]string{}, lines: map[string]line{}}
			if len(words) > 2 {
				s.name = words[2]
			}
			list = append(list, s)
		case len(words) == 3 && len(list) > 0 && (words[0] == "option" || words[0] == "list"):
			s := &list[len(list)-1]
			s.values[words[1]] = append(s.values[words[1]], words[2])
			s.lines[words[1]] = l
		default:
			strange = append(strange, l)
		}
	}
	return list, strange
}
