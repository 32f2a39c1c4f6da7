// Package docs holds pages for students. They need no script, and their pictures are drawn from recorded runs by the
// program in make.
package docs

import (
	"embed"
	"net/http"
)

//go:embed *.html *.css
var files embed.FS

// Handler serves the pages below /docs/.
func Handler() http.Handler {
	return http.StripPrefix("/docs", http.FileServerFS(files))
}
