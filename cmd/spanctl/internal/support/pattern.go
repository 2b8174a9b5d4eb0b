package support

import (
	"regexp"
	"sync"
)

// pattern returns a regular expression that is compiled on first use: few processes make a bundle, and
// each agent would keep 0.3 MB of them.
func pattern(text string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(text) })
}
