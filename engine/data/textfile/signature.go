package textfile

import "bytes"

// sniffed is how many bytes of a file are looked at to tell text from anything else.
const sniffed = 4096

// signatures are the first bytes of files that are no text, with what to do about them.
var signatures = []struct{ prefix, what string }{
	{"PAR1", "a Parquet file, which the command line reads and a browser does not: train with the command line, or convert it with pandas' to_json(orient=\"records\", lines=True)"},
	{"ARROW1", "an Arrow file: save it as JSON lines, such as with to_json of datasets"},
	{"\x28\xb5\x2f\xfd", "packed with Zstandard, which the command line reads and a browser does not: unpack it first, or pack it as .gz"},
	{"\xfd7zXZ\x00", "packed with xz: unpack it first"},
	{"BZh", "packed with bzip2: unpack it first"},
	{"7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it first"},
	{"Rar!", "a RAR archive: unpack it first"},
	{"%PDF-", "a PDF document: save its text as plain text"},
	{"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel or Word file: save it as CSV or plain text"},
	{"\x89PNG", "a PNG image"},
	{"\xff\xd8\xff", "a JPEG image"},
	{"GIF8", "a GIF image"},
	{"RIFF", "a RIFF file, such as an image or a sound"},
	{"SQLite format 3\x00", "an SQLite database: export a table as CSV"},
	{"\x89HDF", "an HDF5 file: save it as JSON lines"},
	{"\x93NUMPY", "a NumPy array: save it as JSON lines of input_ids"},
	{"GGUF", "a GGUF file, which holds a model"},
	{"version https://git-lfs.github.com/spec/", "a pointer of Git LFS, not the file itself: fetch it with git lfs pull, or download it again"},
}

// binaryKind says what a file that begins with head is and what to do about it, "" for what may be text.
func binaryKind(head []byte) string {
	for _, s := range signatures {
		if bytes.HasPrefix(head, []byte(s.prefix)) {
			return s.what
		}
	}
	text := bytes.ToLower(bytes.TrimLeft(head, " \t\r\n"))
	if bytes.HasPrefix(text, []byte("<!doctype html")) || bytes.HasPrefix(text, []byte("<html")) {
		return "an HTML page, not a data file: download the file itself, not the page about it"
	}
	if utf16Order(head) == nil && isBinary(head) {
		return "a binary file, not text"
	}
	return ""
}

// isBinary tells whether more than a few bytes are control characters that no text has.
func isBinary(head []byte) bool {
	controls := 0
	for _, b := range head {
		if b < '\t' || b > '\r' && b < ' ' && b != 0x1b {
			controls++
		}
	}
	return controls > 1+len(head)/64
}
