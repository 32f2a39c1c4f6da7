// Package web holds what every HTTP server of this program shares: the packed page and engine, the headers and the check
// of host names that protect them, and two small pages.
package web
