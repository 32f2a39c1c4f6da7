package main

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	gz "github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// compress writes name.zst and name.gz and returns the size of name.zst in bytes. Files that hold the data already are
// left as they are: the best levels take seconds.
func compress(name string, data []byte, npm string) (size int64, err error) {
	if same(name+".gz", data) {
		if info, err := os.Stat(name + ".zst"); err == nil {
			return info.Size(), nil
		}
	}
	packed, err := zstandard(name, data, npm)
	if err != nil {
		return 0, err
	}
	if strings.HasSuffix(name, ".wasm") {
		fmt.Printf("%s: %.2f MB, %.2f MB on the wire\n", filepath.Base(name), float64(len(data))/1e6, float64(len(packed))/1e6)
	}
	var zipped bytes.Buffer
	w, err := gz.NewWriterLevel(&zipped, gz.BestCompression)
	if err != nil {
		return 0, err
	}
	if _, err := w.Write(data); err != nil {
		return 0, err
	}
	return int64(len(packed)), errors.Join(w.Close(), os.WriteFile(name+".zst", packed, 0o666), os.WriteFile(name+".gz", zipped.Bytes(), 0o666))
}

// zstandard compresses with a window of 8 MiB, the largest that browsers take. The zstd library packs the wasm files an
// eighth smaller than the Go package does, so they are packed by the program zstd where it is installed, else by the
// library's npm package. The program's level 22 takes no longer than 19, which depending on where in the file they begin
// finds the patterns of the engine's tables or misses them: 4 % of the whole. The npm package lets nobody choose the
// window, and its levels above 19 have one that is too large.
func zstandard(name string, data []byte, npm string) ([]byte, error) {
	if strings.HasSuffix(name, ".wasm") {
		run := func(program string, args ...string) ([]byte, error) {
			command := exec.Command(program, args...)
			command.Dir, command.Stdin = npm, bytes.NewReader(data)
			return command.Output()
		}
		if packed, err := run("zstd", "--ultra", "-22", "--zstd=wlog=23", "--quiet", "--stdout"); err == nil {
			return packed, nil
		}
		if packed, err := run("node", "--input-type=module", "--eval", `import { Zstd } from "@hpcc-js/wasm-zstd";
			import { readFileSync, writeSync } from "node:fs";
			const packed = (await Zstd.load()).compress(readFileSync(0), 19);
			for (let sent = 0; sent < packed.length;) sent += writeSync(1, packed, sent);`); err == nil {
			return packed, nil
		}
	}
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithWindowSize(8<<20))
	if err != nil {
		return nil, err
	}
	return encoder.EncodeAll(data, nil), nil
}

// hasZstd tells whether the program zstd is installed. The size limits hold for what it makes.
func hasZstd() bool {
	_, err := exec.LookPath("zstd")
	return err == nil
}

// same tells whether a gzip file holds the data.
func same(name string, data []byte) bool {
	file, err := os.Open(name)
	if err != nil {
		return false
	}
	defer file.Close()
	r, err := gzip.NewReader(file)
	if err != nil {
		return false
	}
	old, err := io.ReadAll(r)
	return err == nil && bytes.Equal(old, data)
}
