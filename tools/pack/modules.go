package main

import (
	"bytes"
	"fmt"
	"regexp"
)

var (
	moduleScript  = regexp.MustCompile(`<script type="module" src="/([^"]+)"`)
	preloadLink   = regexp.MustCompile(`<link rel="modulepreload" href="/([^"]+)"`)
	importedNames = regexp.MustCompile(`(?m)^(?:import|export\b[^;"=(]*\bfrom|import\b[^;"=(]*\bfrom)\s*"\.?/([^"]+)"`)
)

// preloadModules adds a modulepreload link to index.html for each module that its scripts import, directly or through
// other modules. Without the links a browser would learn of each level of imports only after it has the level before.
func preloadModules(index []byte, assets map[string][]byte) ([]byte, error) {
	known := map[string]bool{}
	for _, link := range preloadLink.FindAllSubmatch(index, -1) {
		known[string(link[1])] = true
	}
	var queue []string
	for _, script := range moduleScript.FindAllSubmatch(index, -1) {
		queue = append(queue, string(script[1]))
	}
	var links bytes.Buffer
	visited := map[string]bool{}
	for ; len(queue) > 0; queue = queue[1:] {
		name := queue[0]
		if visited[name] {
			continue
		}
		visited[name] = true
		source, ok := assets[name]
		if !ok {
			return nil, fmt.Errorf("a module imports /%s, which is not packed", name)
		}
		if !known[name] {
			fmt.Fprintf(&links, "  <link rel=\"modulepreload\" href=\"/%s\">\n", name)
		}
		for _, imported := range importedNames.FindAllSubmatch(source, -1) {
			queue = append(queue, string(imported[1]))
		}
	}
	return bytes.Replace(index, []byte("</head>"), append(links.Bytes(), "</head>"...), 1), nil
}
