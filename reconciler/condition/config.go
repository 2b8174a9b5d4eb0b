package condition

// The codes of the config and its file, sorted. configDefinitions has what they mean.
const (
	// ConfigAmbiguous is the code of several config files of which one is to count.
	ConfigAmbiguous Code = "ConfigAmbiguous"
	// ConfigUnwatched is the code of a config file whose changes the kernel does not report.
	ConfigUnwatched Code = "ConfigUnwatched"
	// FilterPassesNothing is the code of a filter of the config that lets nothing through.
	FilterPassesNothing Code = "FilterPassesNothing"
)

// configDefinitions define the codes of the config and its file.
var configDefinitions = []Definition{
	{
		Code: ConfigAmbiguous, Severity: SeverityError,
		Summary: "there are configs in several formats side by side, and none of them is put in force",
		Check:   "`ls -l` of the directory of the config file",
		Remedy:  "move all but one away",
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
	},
}
