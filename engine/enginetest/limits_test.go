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

// Limits of the code without tests, in lines.
const (
	maxFunction = 80
	maxPackage  = 3500 // of the engine
)

// parsed calls f with each Go file below a folder that is neither a test nor generated.
func parsed(t *testing.T, set *token.FileSet, folder string, f func(path string, file *ast.File)) {
	t.Helper()
	if err := filepath.WalkDir(filepath.Join(root, folder), func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Name() == "node_modules" {
			return filepath.SkipDir
		}
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.HasSuffix(path, "_gen.go") {
			return err
		}
		file, err := parser.ParseFile(set, path, nil, 0)
		if err == nil {
			f(path, file)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

// TestFunctionLengths fails on a function of more than maxFunction lines.
func TestFunctionLengths(t *testing.T) {
	set, functions := token.NewFileSet(), 0
	for _, folder := range []string{"docs", "engine", "server", "shaders", "tools", "ui", "wasm"} {
		parsed(t, set, folder, func(_ string, file *ast.File) {
			for _, d := range file.Decls {
				f, ok := d.(*ast.FuncDecl)
				if !ok {
					continue
				}
				functions++
				if lines := set.Position(f.End()).Line - set.Position(f.Pos()).Line + 1; lines > maxFunction {
					t.Errorf("%s: %s has %d lines, more than %d", set.Position(f.Pos()), f.Name.Name, lines, maxFunction)
				}
			}
		})
	}
	if functions < 2000 {
		t.Errorf("found %d functions: the code lies elsewhere now", functions)
	}
}

// TestLimits fails on a package of the engine of more than maxPackage lines, and on a struct that embeds a struct which embeds
// another. Embedded interfaces do not count.
func TestLimits(t *testing.T) {
	set := token.NewFileSet()
	lines := map[string]int{}
	structs := map[string]*ast.StructType{} // by package name and type name
	parsed(t, set, "engine", func(path string, file *ast.File) {
		lines[filepath.Dir(path)] += set.File(file.Pos()).LineCount()
		ast.Inspect(file, func(n ast.Node) bool {
			if n, ok := n.(*ast.TypeSpec); ok {
				if s, ok := n.Type.(*ast.StructType); ok {
					structs[file.Name.Name+"."+n.Name.Name] = s
				}
			}
			return true
		})
	})
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
