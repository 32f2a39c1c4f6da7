// Package hub fetches models and adapters from the Hugging Face Hub, or from a server that answers as the hub does, into a
// cache folder.
//
// The hub answers GET /api/models/REPO/revision/REV?blobs=true with the commit and, for each file, its size and checksum: the
// SHA-256 of a large file (Git LFS), the Git blob SHA-1 of a small one. GET /REPO/resolve/COMMIT/FILE answers with the file, or
// redirects to another host that has it.
//
// A Store fetches only the files that a model or an adapter needs. A file counts once its size and checksum are right; an
// unfinished one is continued later. The access token goes to the hub's own host and nowhere else.
package hub
