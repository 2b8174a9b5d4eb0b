package nodecmd

import (
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// dnsWait bounds a query. No test waits for an answer that does not come, but for those that want none.
const dnsWait = 5 * time.Second

// ask sends a DNS query and prints the answer's status and records, in words: ask NETWORK SERVER NAME TYPE.
func ask(args []string) error {
	client := &dns.Client{Net: args[0], Timeout: dnsWait}
	query := new(dns.Msg).SetQuestion(dns.Fqdn(args[2]), dns.StringToType[args[3]])
	answer, _, err := client.Exchange(query, net.JoinHostPort(args[1], "53"))
	if err != nil {
		return err
	}
	words := []string{dns.RcodeToString[answer.Rcode]}
	for _, record := range answer.Answer {
		words = append(words, strings.Join(strings.Fields(record.String())[3:], " "))
	}
	_, err = fmt.Println(strings.Join(words, ", "))
	return err
}
