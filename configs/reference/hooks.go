package reference

import (
	"fmt"
	"strings"
)

// A Term is a name with what it means.
type Term struct{ Name, Means string }

// HookEvents are what hooks are run on (configs.HookEvents).
func HookEvents() []Term {
	return []Term{
		{"lease", "A lease has come, has changed, or has gone."},
		{"address", "The address of an uplink has changed, or has come or gone."},
		{"up", "An uplink works again."},
		{"down", "An uplink does not work any more."},
		{"doubtful", "Doubt about an uplink begins, or ends: UPLINKD_TO says which."},
		{"switch", "Others carry new connections than before; and once at the start, when all uplinks have been " +
			"judged."},
		{"dns", "Other DNS servers are to be asked."},
		{"prefix", "An uplink has another prefix of IPv6 for the LAN, or none any more."},
		{"quota", "An uplink has used a part of its quota that is warned of, or all of it; or a period has " +
			"begun. UPLINKD_TO is the part."},
	}
}

// HookEnvironment is what a hook finds in its environment, beside PATH and LC_ALL.
func HookEnvironment() []Term {
	return []Term{
		{"UPLINKD_EVENT", "The event, one of the above."},
		{"UPLINKD_ID", "Its number, as `uplinkd events` shows it."},
		{"UPLINKD_UPLINK", "The uplink; empty where it is of none."},
		{"UPLINKD_INTERFACE", "Its interface."},
		{"UPLINKD_FAMILY", "ipv4 or ipv6."},
		{"UPLINKD_ADDRESS", "Its address."},
		{"UPLINKD_FROM", "What was before: a state, an address, uplinks."},
		{"UPLINKD_TO", "What is now."},
		{"UPLINKD_REASON", "Why, in words. Quotes, backslashes, dollar signs, backquotes and control characters " +
			"are taken out of it."},
		{"UPLINKD_DNS", "The DNS servers of the uplink's lease, with spaces between them."},
		{"UPLINKD_DOMAIN", "The domain of its lease, cleaned likewise."},
	}
}

// HooksRoff returns uplinkd-hooks(7).
func HooksRoff(date string) string {
	var b strings.Builder
	fmt.Fprintf(&b, ".TH UPLINKD\\-HOOKS 7 %s uplinkd \"uplinkd\"\n", date)
	b.WriteString(".SH NAME\nuplinkd\\-hooks \\- programs that uplinkd runs on what happens\n.SH " +
		"SYNOPSIS\n.nf\nhooks:\n" +
		"  \\- {run: [/usr/lib/uplinkd/hooks/mail, root], on: [up, down]}\n.fi\n.SH DESCRIPTION\n" +
		"A hook is a program with arguments, run without a shell and with nothing on its standard input. One " +
		"event after the other is\n" +
		"told, those of one hook never at once. What it prints goes to the journal. It is ended when its time is " +
		"over.\n" +
		"The daemon waits for no hook. They are run by the unit uplinkd\\-hooks, which is not as narrowly " +
		"confined as the daemon.\n")
	terms(&b, "EVENTS", HookEvents())
	terms(&b, "ENVIRONMENT", HookEnvironment())
	b.WriteString(".SH FILES\nReady ones are in /usr/lib/uplinkd/hooks.\n.SH SEE ALSO\n.BR uplinkd.yaml " +
		"(5),\n.BR uplinkd (8)\n")
	return b.String()
}

func terms(b *strings.Builder, title string, list []Term) {
	fmt.Fprintf(b, ".SH %s\n", title)
	for _, t := range list {
		fmt.Fprintf(b, ".TP\n.B %s\n%s\n", Escape(t.Name), Escape(t.Means))
	}
}
