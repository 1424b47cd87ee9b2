// Command gocheck reads a tiled log as any C2SP client would, with golang.org/x/mod/sumdb and nothing of the gateway.
//
//	gocheck DIR VERIFIERKEY OLDSIZE OLDROOT
//
// It opens the checkpoint, hashes every entry, checks an inclusion proof for every leaf and the consistency with an
// older tree, and prints how many leaves it checked.
package main

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type files struct{ root string }

func (files) Height() int { return 8 }

// path is that of c2sp.org/tlog-tiles: x/mod's own has the height in it.
func path(t tlog.Tile) string {
	return strings.Replace(t.Path(), "tile/8/", "tile/", 1)
}

func (f files) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var out [][]byte
	for _, t := range tiles {
		data, err := os.ReadFile(filepath.Join(f.root, path(t)))
		if err != nil {
			return nil, err
		}
		out = append(out, data)
	}
	return out, nil
}

func (files) SaveTiles([]tlog.Tile, [][]byte) {}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	root := os.Args[1]
	verifier, err := note.NewVerifier(os.Args[2])
	check(err)
	content, err := os.ReadFile(filepath.Join(root, "checkpoint"))
	check(err)
	opened, err := note.Open(content, note.VerifierList(verifier))
	check(err)
	lines := strings.Split(opened.Text, "\n")
	size, err := strconv.ParseInt(lines[1], 10, 64)
	check(err)
	hash, err := tlog.ParseHash(lines[2])
	check(err)
	tree := tlog.Tree{N: size, Hash: hash}
	reader := tlog.TileHashReader(tree, files{root})

	for n := int64(0); n*256 < size; n++ {
		width := min(256, size-n*256)
		tile := tlog.Tile{H: 8, L: -1, N: n, W: int(width)}
		name := strings.Replace(path(tile), "tile/data/", "tile/entries/", 1)
		bundle, err := os.ReadFile(filepath.Join(root, name))
		check(err)
		for i := int64(0); i < width; i++ {
			length := binary.BigEndian.Uint16(bundle)
			entry := bundle[2 : 2+length]
			bundle = bundle[2+length:]
			proof, err := tlog.ProveRecord(size, n*256+i, reader)
			check(err)
			check(tlog.CheckRecord(proof, size, hash, n*256+i, tlog.RecordHash(entry)))
		}
		if len(bundle) != 0 {
			check(fmt.Errorf("bundle %d has %d bytes more", n, len(bundle)))
		}
	}

	old, err := strconv.ParseInt(os.Args[3], 10, 64)
	check(err)
	oldRoot, err := base64.StdEncoding.DecodeString(os.Args[4])
	check(err)
	proof, err := tlog.ProveTree(size, old, reader)
	check(err)
	check(tlog.CheckTree(proof, size, hash, old, tlog.Hash(oldRoot)))
	fmt.Println(size)
}
