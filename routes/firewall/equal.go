package firewall

import "slices"

// Equal reports whether two tables hold the same; nil is no table.
func Equal(a, b *Table) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Name == b.Name && a.Mask == b.Mask && a.Marks == b.Marks && a.LeaveMarked == b.LeaveMarked &&
		slices.Equal(a.Counted, b.Counted) &&
		slices.EqualFunc(a.Uplinks, b.Uplinks, equalUplinks) &&
		slices.EqualFunc(a.Uplinks6, b.Uplinks6, equalUplinks) &&
		slices.EqualFunc(a.Policies, b.Policies, equalPolicies) &&
		slices.EqualFunc(a.Policies6, b.Policies6, equalPolicies)
}

func equalUplinks(a, b Uplink) bool {
	return a.Name == b.Name && a.Interface == b.Interface && a.Mark == b.Mark && a.Masquerade == b.Masquerade &&
		a.Out == b.Out && slices.Equal(a.Translate, b.Translate) && equalSets(a.Foreign, b.Foreign)
}

// equalSets compares by the name, which says what a set holds.
func equalSets(a, b *Prefixes) bool {
	return a == b || a != nil && b != nil && a.SetName() == b.SetName()
}

func equalTo[T comparable](a, b *T) bool { return a == b || a != nil && b != nil && *a == *b }
