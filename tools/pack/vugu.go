package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
)

// vuguHelper is the script that vugu would evaluate when it starts: a constant of its domrender package.
func vuguHelper() ([]byte, error) {
	dir, err := output("go", "list", "-f", "{{.Dir}}", "github.com/vugu/vugu/domrender")
	if err != nil {
		return nil, err
	}
	name := filepath.Join(strings.TrimSpace(dir), "renderer-js-script.go")
	file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
	if err != nil {
		return nil, err
	}
	var script string
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok && spec.Names[0].Name == "jsHelperScript" && len(spec.Values) == 1 {
			if text, ok := spec.Values[0].(*ast.BasicLit); ok {
				script, err = strconv.Unquote(text.Value)
			}
		}
		return true
	})
	if err == nil && script == "" {
		err = fmt.Errorf("%s: no constant jsHelperScript", name)
	}
	return []byte(script), err
}
