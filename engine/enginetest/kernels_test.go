//go:build !js

package enginetest_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"llamatab/shaders"
)

// In these folders x.go holds an op, its kernels lie in x.wgsl and x_*.wgsl, and x_test.go tests it.
var opFolders = []string{"engine/op", "engine/optim"}

// TestKernels holds the rule above, and that every kernel has a reference and every shader a kernel.
func TestKernels(t *testing.T) {
	files := map[string]*ast.File{}
	if err := filepath.WalkDir(filepath.Join(root, "engine"), func(name string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(name, ".go") {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		rel, _ := filepath.Rel(root, name)
		files[filepath.ToSlash(rel)] = f
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if kernels := kernelsOf(files); len(kernels) < 30 {
		t.Errorf("%d kernels were found, the engine has more: the test does not see how they are written", len(kernels))
	}
	for _, p := range kernelProblems(files, shaders.Names()) {
		t.Error(p)
	}
}

// Each of these small engines breaks one part of the rule.
func TestKernelsFindsProblems(t *testing.T) {
	const (
		imports = "package op\nimport (\n\"llamatab/engine/device\"\n\"llamatab/engine/graph\"\n)\n"
		op      = "func Add(t *graph.Tape, x graph.Var) {}\n"
		kernel  = "var add = &device.Kernel{Shader: \"add\", Ref: ref}\n"
		proof   = "package op\nfunc TestAdd(t *testing.T) { Add(nil, nil) }\n"
	)
	for name, c := range map[string]struct {
		files   map[string]string
		shaders []string
		want    string
	}{
		"nothing": {map[string]string{"engine/op/add.go": imports + op + kernel, "engine/op/add_test.go": proof}, []string{"add"}, ""},
		"a kernel without a reference": {
			map[string]string{"engine/op/add.go": imports + op + strings.Replace(kernel, ", Ref: ref", "", 1), "engine/op/add_test.go": proof},
			[]string{"add"}, "engine/op/add.go: kernel of shader \"add\" has no Ref",
		},
		"a reference that is nil": {
			map[string]string{"engine/bench/x.go": imports + strings.Replace(kernel, "Ref: ref", "Ref: nil", 1)},
			[]string{"add"}, "engine/bench/x.go: kernel of shader \"add\" has no Ref",
		},
		"no test file": {
			map[string]string{"engine/op/add.go": imports + op + kernel},
			[]string{"add"}, "engine/op/add.go: there is no engine/op/add_test.go",
		},
		"an op that its test does not call": {
			map[string]string{"engine/op/add.go": imports + op + "func Sub(t *graph.Tape) {}\n" + kernel, "engine/op/add_test.go": proof},
			[]string{"add"}, "engine/op/add_test.go does not call Sub",
		},
		"a launch that its test does not call": {
			map[string]string{"engine/op/add.go": imports + op + "func Find() *device.Launch { return nil }\n" + kernel, "engine/op/add_test.go": proof},
			[]string{"add"}, "engine/op/add_test.go does not call Find",
		},
		"a test file without a test": {
			map[string]string{"engine/op/add.go": imports + op + kernel, "engine/op/add_test.go": strings.Replace(proof, "TestAdd", "checkAdd", 1)},
			[]string{"add"}, "engine/op/add_test.go has no test",
		},
		"a kernel in a file of another name": {
			map[string]string{"engine/op/sum.go": imports + op + kernel, "engine/op/sum_test.go": proof},
			[]string{"add"}, "engine/op/sum.go: shader \"add\" should be named sum or sum_…",
		},
		"a variant in a file of another name": {
			map[string]string{"engine/op/add.go": imports + op + kernel + "var v = device.Variant{Shader: \"sum\"}\n", "engine/op/add_test.go": proof},
			[]string{"add", "sum"}, "engine/op/add.go: shader \"sum\" should be named add or add_…",
		},
		"a shader without a kernel": {
			map[string]string{"engine/op/add.go": imports + op + kernel, "engine/op/add_test.go": proof},
			[]string{"add", "sum"}, "shaders/sum.wgsl belongs to no kernel",
		},
		"a kernel without a shader": {
			map[string]string{"engine/op/add.go": imports + op + kernel, "engine/op/add_test.go": proof},
			nil, "engine/op/add.go: there is no shaders/add.wgsl",
		},
	} {
		files := map[string]*ast.File{}
		for file, text := range c.files {
			f, err := parser.ParseFile(token.NewFileSet(), file, text, 0)
			if err != nil {
				t.Fatal(err)
			}
			files[file] = f
		}
		if got := strings.Join(kernelProblems(files, c.shaders), "\n"); got != c.want {
			t.Errorf("%s: found %q, want %q", name, got, c.want)
		}
	}
}

// shaderUse is a device.Kernel or device.Variant in the source that names a shader.
type shaderUse struct {
	file, shader string
	isKernel     bool
	hasRef       bool
}

// shaderUses lists the kernels and variants written in the files, tests left out, by file name.
func shaderUses(files map[string]*ast.File) (all []shaderUse) {
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		ast.Inspect(files[name], func(n ast.Node) bool {
			literal, ok := n.(*ast.CompositeLit)
			if !ok {
				return true
			}
			use := shaderUse{file: name, isKernel: isDevice(literal.Type, "Kernel")}
			for _, e := range literal.Elts {
				field, ok := e.(*ast.KeyValueExpr)
				if !ok {
					continue
				}
				key, _ := field.Key.(*ast.Ident)
				switch value := field.Value.(type) {
				case *ast.BasicLit:
					if key != nil && key.Name == "Shader" {
						use.shader, _ = strconv.Unquote(value.Value)
					}
				case *ast.Ident:
					use.hasRef = use.hasRef || key != nil && key.Name == "Ref" && value.Name != "nil"
				default:
					use.hasRef = use.hasRef || key != nil && key.Name == "Ref"
				}
			}
			// The elements of a list of variants are written without their type.
			if use.isKernel || use.shader != "" {
				all = append(all, use)
			}
			return true
		})
	}
	return all
}

func kernelsOf(files map[string]*ast.File) []shaderUse {
	return slices.DeleteFunc(shaderUses(files), func(u shaderUse) bool { return !u.isKernel })
}

// isDevice reports whether an expression is the type device.NAME.
func isDevice(e ast.Expr, name string) bool { return isSelector(e, "device", name) }

func isSelector(e ast.Expr, pkg, name string) bool {
	s, ok := e.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	x, ok := s.X.(*ast.Ident)
	return ok && x.Name == pkg && s.Sel.Name == name
}

// opsOf lists the exported functions of a file that record on a tape or make a launch.
func opsOf(f *ast.File) (ops []string) {
	for _, d := range f.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || fn.Recv != nil || !fn.Name.IsExported() {
			continue
		}
		var types []ast.Expr
		if in := fn.Type.Params.List; len(in) > 0 {
			types = append(types, in[0].Type)
		}
		if out := fn.Type.Results; out != nil {
			types = append(types, out.List[0].Type)
		}
		for i, e := range types {
			if p, ok := e.(*ast.StarExpr); ok && (i == 0 && isSelector(p.X, "graph", "Tape") || isDevice(p.X, "Launch")) {
				ops = append(ops, fn.Name.Name)
				break
			}
		}
	}
	return ops
}

// calls is the set of names that a file calls, and whether it has a test.
func calls(f *ast.File) (names map[string]bool, hasTest bool) {
	names = map[string]bool{}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			if id, ok := n.Fun.(*ast.Ident); ok {
				names[id.Name] = true
			}
		case *ast.FuncDecl:
			hasTest = hasTest || n.Recv == nil && strings.HasPrefix(n.Name.Name, "Test")
		}
		return true
	})
	return names, hasTest
}

// kernelProblems lists where Go files, by their path in the repository, and shaders break the rule.
func kernelProblems(files map[string]*ast.File, shaders []string) (problems []string) {
	report := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	used, withKernel := map[string]bool{}, map[string]bool{}
	for _, use := range shaderUses(files) {
		stem := strings.TrimSuffix(path.Base(use.file), ".go")
		if use.isKernel {
			withKernel[use.file] = true
			if !use.hasRef {
				report("%s: kernel of shader %q has no Ref", use.file, use.shader)
			}
		}
		if slices.Contains(opFolders, path.Dir(use.file)) && use.shader != stem && !strings.HasPrefix(use.shader, stem+"_") {
			report("%s: shader %q should be named %s or %s_…", use.file, use.shader, stem, stem)
		}
		if !used[use.shader] && !slices.Contains(shaders, use.shader) {
			report("%s: there is no shaders/%s.wgsl", use.file, use.shader)
		}
		used[use.shader] = true
	}
	for _, name := range shaders {
		if !used[name] {
			report("shaders/%s.wgsl belongs to no kernel", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if strings.HasSuffix(name, "_test.go") || !slices.Contains(opFolders, path.Dir(name)) {
			continue
		}
		ops := opsOf(files[name])
		if len(ops) == 0 && !withKernel[name] {
			continue
		}
		proof := strings.TrimSuffix(name, ".go") + "_test.go"
		if files[proof] == nil {
			report("%s: there is no %s", name, proof)
			continue
		}
		called, hasTest := calls(files[proof])
		if !hasTest {
			report("%s has no test", proof)
		}
		for _, op := range ops {
			if !called[op] {
				report("%s does not call %s", proof, op)
			}
		}
	}
	return problems
}

var importLine = regexp.MustCompile(`(?m)^\s*//@import (\w+)`)

// Every part below shaders/lib is imported by a shader.
func TestShaderParts(t *testing.T) {
	imported := map[string]bool{}
	for _, pattern := range []string{"shaders/*.wgsl", "shaders/lib/*.wgsl"} {
		names, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil || len(names) == 0 {
			t.Fatal(pattern, err)
		}
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range importLine.FindAllStringSubmatch(string(text), -1) {
				imported[m[1]] = true
			}
		}
	}
	parts, _ := filepath.Glob(filepath.Join(root, "shaders/lib/*.wgsl"))
	for _, p := range parts {
		if name := strings.TrimSuffix(filepath.Base(p), ".wgsl"); !imported[name] {
			t.Errorf("shaders/lib/%s.wgsl is imported by no shader", name)
		}
	}
}
