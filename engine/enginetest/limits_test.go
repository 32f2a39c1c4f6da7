//go:build !js

package enginetest_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// Limits of the engine's code, in lines.
const (
	maxFunction = 80
	maxPackage  = 3500 // without tests
)

// TestLimits parses the engine and fails on a function of more than maxFunction lines, on a package of more than maxPackage
// lines, and on a struct that embeds a struct which embeds another. Embedded interfaces do not count.
func TestLimits(t *testing.T) {
	set := token.NewFileSet()
	lines := map[string]int{}
	structs := map[string]*ast.StructType{} // by package name and type name
	if err := filepath.WalkDir(filepath.Join(root, "engine"), func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(set, path, nil, 0)
		if err != nil {
			return err
		}
		lines[filepath.Dir(path)] += set.File(file.Pos()).LineCount()
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if long := set.Position(n.End()).Line - set.Position(n.Pos()).Line + 1; long > maxFunction {
					t.Errorf("%s: %s has %d lines, more than %d", set.Position(n.Pos()), n.Name.Name, long, maxFunction)
				}
			case *ast.TypeSpec:
				if s, ok := n.Type.(*ast.StructType); ok {
					structs[file.Name.Name+"."+n.Name.Name] = s
				}
			}
			return true
		})
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for dir, n := range lines {
		if n > maxPackage {
			t.Errorf("%s has %d lines without tests, more than %d", dir, n, maxPackage)
		}
	}
	embedded := func(name string, s *ast.StructType) (all []string) {
		for _, f := range s.Fields.List {
			e := f.Type
			if p, ok := e.(*ast.StarExpr); ok {
				e = p.X
			}
			switch e := e.(type) {
			case *ast.Ident:
				if len(f.Names) == 0 {
					all = append(all, name[:strings.IndexByte(name, '.')]+"."+e.Name)
				}
			case *ast.SelectorExpr:
				if x, ok := e.X.(*ast.Ident); ok && len(f.Names) == 0 {
					all = append(all, x.Name+"."+e.Sel.Name)
				}
			}
		}
		return all
	}
	for name, s := range structs {
		for _, in := range embedded(name, s) {
			inner, ok := structs[in]
			if !ok {
				continue // an interface, or a type of another module
			}
			for _, deeper := range embedded(in, inner) {
				if structs[deeper] != nil {
					t.Errorf("%s embeds %s, which embeds %s", name, in, deeper)
				}
			}
		}
	}
	if len(structs) < 100 || len(lines) < 20 {
		t.Errorf("found %d structs in %d packages: the engine lies elsewhere now", len(structs), len(lines))
	}
}
