package condition

// The codes of the agent itself, sorted. agentDefinitions has what they mean.
const (
	// AgentStuck is the code of an agent whose loop does not turn.
	AgentStuck Code = "AgentStuck"
	// NoAgent is the code of a machine where no agent runs.
	NoAgent Code = "NoAgent"
)

// agentDefinitions define the codes of the agent itself.
var agentDefinitions = []Definition{
	{
		Code: AgentStuck, Severity: SeverityError,
		Summary:  "the agent has worked on one pass for more than 90 seconds, and what is known of the mesh is older",
		Check:    "`spanctl status --check live`; the agent's log has what it waits for",
		Remedy:   "`systemctl restart spanctl`, which leaves the mesh up; the unit's watchdog does the same",
		NotReady: true,
	},
	{
		Code: NoAgent, Severity: SeverityError,
		Summary:  "no agent answers; a mesh that is up is left as it is, and follows no change",
		Check:    "`systemctl status spanctl`",
		Remedy:   "`systemctl start spanctl`; where there is no systemd, `spanctl run`",
		NotReady: true,
	},
}
