package hostsfile

import (
	"bytes"
	"strings"
)

const (
	beginMark = "# BEGIN spanctl "
	endMark   = "# END spanctl "
	lineMark  = "\t# spanctl"
	// explanation follows the owner in the first line of a block, and joined where the line before had no
	// end, but for the block's sake.
	explanation = ": what is changed up to END is lost"
	joined      = explanation + " (the line above had no end)"
)

// Edit returns the content of a file in which the block of an owner has the lines, or is not there if
// there are none. Neither the owner nor a line may have a line break.
func Edit(content []byte, owner string, lines []string) []byte {
	before, after, wasJoined := split(content, owner)
	if wasJoined && (len(lines) > 0 || len(after) == 0) {
		before = bytes.TrimSuffix(before, []byte("\n"))
	}
	if len(lines) == 0 {
		return append(before, after...)
	}
	begin := beginMark + owner + explanation
	if len(before) > 0 && !bytes.HasSuffix(before, []byte("\n")) {
		before, begin = append(before, '\n'), beginMark+owner+joined
	}
	edited := bytes.NewBuffer(before)
	for _, line := range append([]string{begin}, lines...) {
		edited.WriteString(line)
		if line != begin {
			edited.WriteString(lineMark)
		}
		edited.WriteByte('\n')
	}
	edited.WriteString(endMark + owner + "\n")
	edited.Write(after)
	return edited.Bytes()
}

// split returns what is before and after the block of an owner. Where the end of a block is missing, it
// ends at the first line without its mark.
func split(content []byte, owner string) (before, after []byte, wasJoined bool) {
	out, open := &before, false
	for line := range bytes.Lines(content) {
		text := strings.TrimRight(string(line), "\r\n")
		isCut := !bytes.HasSuffix(line, []byte("\n")) // only the last line of the file can be
		switch {
		case text == beginMark+owner+explanation, text == beginMark+owner+joined:
			wasJoined = wasJoined || out == &before && text == beginMark+owner+joined
			out, open = &after, true
		case open && text == endMark+owner:
			open = false
		case open && (strings.HasSuffix(text, lineMark) || isCut):
		default:
			open = false
			*out = append(*out, line...)
		}
	}
	return before, after, wasJoined
}
