"""The command line: `commands` names what each command calls, `arguments` what it takes; a room for each group."""
