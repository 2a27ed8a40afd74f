module lookout/scripts/servers/pause

go 1.26.0
