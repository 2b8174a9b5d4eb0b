package condition

import "time"

// The codes of the config and its file, sorted. configDefinitions has what they mean.
const (
	// APIUnavailable is the code of an API that cannot be served where the config says.
	APIUnavailable Code = "APIUnavailable"
	// ConfigAmbiguous is the code of several config files of which one is to count.
	ConfigAmbiguous Code = "ConfigAmbiguous"
	// ConfigInvalid is the code of a config file that cannot be read or is not valid.
	ConfigInvalid Code = "ConfigInvalid"
	// ConfigOnTrial is the code of a config that is in force for a while.
	ConfigOnTrial Code = "ConfigOnTrial"
	// ConfigStaged is the code of a config in the file that waits to be put in force.
	ConfigStaged Code = "ConfigStaged"
	// ConfigUnwatched is the code of a config file whose changes the kernel does not report.
	ConfigUnwatched Code = "ConfigUnwatched"
	// FilterPassesNothing is the code of a filter of the config that lets nothing through.
	FilterPassesNothing Code = "FilterPassesNothing"
	// MeshDisabled is the code of a config that asks for no mesh.
	MeshDisabled Code = "MeshDisabled"
	// MeshDown is the code of a mesh that a command took down.
	MeshDown Code = "MeshDown"
	// MetricsUnavailable is the code of metrics that cannot be served where the config says.
	MetricsUnavailable Code = "MetricsUnavailable"
	// NamesNotInForce is the code of names of machines that are not resolved as the config asks.
	NamesNotInForce Code = "NamesNotInForce"
	// NoConfig is the code of a config file that is missing.
	NoConfig Code = "NoConfig"
)

// configDefinitions define the codes of the config and its file.
var configDefinitions = []Definition{
	{
		Code: APIUnavailable, Severity: SeverityWarning,
		Summary: "the API cannot be served at the address that the config asks for",
		Check:   "`ss -ltn`, `ls -l` of the file with the token, and `spanctl get kubespanidentities` for this machine's address in the mesh",
		Remedy:  "use an address of this machine, with a port that is free, in `machine.api.listen`, and a file that others can neither read nor change in `machine.api.tokenFile`",
		After:   10 * time.Second,
	},
	{
		Code: ConfigAmbiguous, Severity: SeverityError,
		Summary: "there are configs in several formats side by side, and none of them is put in force",
		Check:   "`ls -l` of the directory of the config file",
		Remedy:  "move all but one away",
		Hides:   []Code{ConfigInvalid},
	},
	{
		Code: ConfigInvalid, Severity: SeverityWarning,
		Summary: "the config file is not valid; it is an error where no config is in force",
		Check:   "`spanctl validate`",
		Remedy:  "correct the file at the line that is named; `spanctl rollback` brings the config before back",
	},
	{
		Code: ConfigOnTrial, Severity: SeverityInfo,
		Summary: "a config is in force for a while, and the one before returns unless it is confirmed",
		Check:   "`spanctl history`",
		Remedy:  "`spanctl confirm` keeps it, `spanctl rollback` ends it",
	},
	{
		Code: ConfigStaged, Severity: SeverityWarning,
		Summary: "the config file has a config that is not in force; it is an error where none is",
		Check:   "`spanctl diff -f FILE`",
		Remedy:  "`spanctl reload`",
	},
	{
		Code: ConfigUnwatched, Severity: SeverityWarning,
		Summary: "the kernel does not report changes of the config file, which is looked at every two seconds instead",
		Check:   "`sysctl fs.inotify`",
		Remedy:  "raise the limit that is named, such as the sysctl `fs.inotify.max_user_instances`",
	},
	{
		Code: FilterPassesNothing, Severity: SeverityWarning,
		Summary: "a filter of the config lets nothing of what there is through",
		Check:   "`spanctl get affiliates` on another machine shows what this one announces",
		Remedy:  "put `0.0.0.0/0` and `::/0` before what the filter excludes: the last entry that matches decides",
		Hides:   []Code{AddressOnLink},
	},
	{
		Code: MeshDisabled, Severity: SeverityInfo,
		Summary: "the config asks for discovery alone, without a mesh",
		Check:   "`spanctl get machineconfigs -o yaml`",
		Remedy:  "set `machine.network.kubespan.enabled` to `true` for a mesh",
	},
	{
		Code: MeshDown, Severity: SeverityInfo,
		Summary:  "a command took the mesh down",
		Check:    "`spanctl get events`",
		Remedy:   "`spanctl reload` brings it up",
		NotReady: true,
	},
	{
		Code: MetricsUnavailable, Severity: SeverityWarning,
		Summary: "the metrics cannot be served at the address that the config asks for",
		Check:   "`ss -ltn`, and `spanctl get kubespanidentities` for this machine's address in the mesh",
		Remedy:  "use an address of this machine, with a port that is free, in `machine.metrics.listen`; `spanctl metrics` has them meanwhile",
		After:   10 * time.Second,
	},
	{
		Code: NamesNotInForce, Severity: SeverityWarning,
		Summary: "the names of machines in the mesh are not resolved on this machine as the config asks, or not in every way",
		Check:   "`getent hosts NAME` for a name of `spanctl get names`, `resolvectl status`, and `ss -lnptu sport = :53`",
		Remedy:  "free port 53 of the address that is named, or let the agent write to the file that is named; or set `machine.network.kubespan.names.enabled` to `false`",
		After:   10 * time.Second,
	},
	{
		Code: NoConfig, Severity: SeverityError,
		Summary: "there is no config file; it is a warning where a config is in force, which stays",
		Check:   "`ls -l` of the path that is named",
		Remedy:  "`spanctl apply -f FILE`; `spanctl gen config` writes a first one",
	},
}
