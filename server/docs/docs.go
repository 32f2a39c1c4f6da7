// Package docs holds the pages below /docs/. They need no script. tools/fsdpguide draws the pictures of fsdp.html from
// recorded runs.
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
