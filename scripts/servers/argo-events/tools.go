//go:build tools

// Package tools names the programs that scripts/servers.py builds here, so that go.mod and go.sum pin all they need.
package tools

import _ "github.com/argoproj/argo-events/cmd"
