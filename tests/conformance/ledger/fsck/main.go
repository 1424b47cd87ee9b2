// Command fsck reads a tiled log with the programs of transparency.dev and nothing of the gateway.
//
//	fsck DIR VERIFIERKEY WITNESSKEY
//
// Tessera's fsck derives every tile and the root anew from the bundles and compares each with what the log serves.
// Then `cosigned` is opened with the log's key and the witness's (cosignature/v1). It prints the size and the time of
// the cosignature.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	f_note "github.com/transparency-dev/formats/note"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/api"
	"github.com/transparency-dev/tessera/client"
	"github.com/transparency-dev/tessera/fsck"
	"golang.org/x/mod/sumdb/note"
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func leafHashes(content []byte) ([][]byte, error) {
	bundle := &api.EntryBundle{}
	if err := bundle.UnmarshalText(content); err != nil {
		return nil, err
	}
	var hashes [][]byte
	for _, entry := range bundle.Entries {
		hashes = append(hashes, rfc6962.DefaultHasher.HashLeaf(entry))
	}
	return hashes, nil
}

func main() {
	root := os.Args[1]
	verifier, err := f_note.NewVerifier(os.Args[2])
	check(err)
	log := &client.FileFetcher{Root: root}
	check(fsck.New(verifier.Name(), verifier, log, leafHashes, fsck.Opts{N: 2}).Check(context.Background()))

	witness, err := f_note.NewVerifierForCosignatureV1(os.Args[3])
	check(err)
	content, err := os.ReadFile(filepath.Join(root, "cosigned"))
	check(err)
	opened, err := note.Open(content, note.VerifierList(verifier, witness))
	check(err)
	if len(opened.Sigs) != 2 {
		check(fmt.Errorf("%d known signatures stand on `cosigned`, not 2", len(opened.Sigs)))
	}
	for _, signature := range opened.Sigs {
		if signature.Name == witness.Name() {
			seen, err := f_note.CoSigV1Timestamp(signature)
			check(err)
			fmt.Println(strings.Split(opened.Text, "\n")[1], seen.Unix())
		}
	}
}
