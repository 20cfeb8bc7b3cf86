// Checks evidence of an Agent Access Manager with the code of Go's checksum database, which is where the formats come
// from, and with nothing of ours: go run . DIRECTORY VKEY...
//
// DIRECTORY is an unpacked bundle, or less: a checkpoint, and what there is of records.jsonl, previous-checkpoint and
// consistency, proofs/*, manifest.json and manifest.note. Exit status 1, and the first check that failed, if one does.
package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/bits"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type checkpoint struct {
	origin string
	tree   tlog.Tree
}

type evidence struct {
	directory string
	keys      note.Verifiers
	head      checkpoint
}

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: DIRECTORY VKEY...")
		os.Exit(2)
	}
	if err := check(os.Args[1], os.Args[2:]); err != nil {
		fmt.Println("refused:", err)
		os.Exit(1)
	}
}

func check(directory string, vkeys []string) error {
	of := evidence{directory: directory}
	checks := []struct {
		name string
		run  func() error
	}{
		{"keys", func() error { return of.trust(vkeys) }},
		{"checkpoint", of.checkpoint},
		{"records", of.records},
		{"consistency", of.consistency},
		{"proofs", of.proofs},
		{"manifest", of.manifest},
	}
	for _, one := range checks {
		if err := one.run(); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("%s: %w", one.name, err)
		}
	}
	return nil
}

// trust takes the keys that were given, and those that one of them endorses, in turn.
func (of *evidence) trust(vkeys []string) error {
	var trusted []note.Verifier
	for _, vkey := range vkeys {
		verifier, err := note.NewVerifier(vkey)
		if err != nil {
			return err
		}
		trusted = append(trusted, verifier)
	}
	defer func() { of.keys = note.VerifierList(trusted...) }()
	lines, err := of.lines()
	if err != nil {
		return nil
	}
	var stated struct {
		Log  string
		Keys []struct{ Vkey, Endorsement string }
	}
	if err := json.Unmarshal(lines[0], &stated); err != nil {
		return err
	}
	for _, key := range stated.Keys {
		opened, err := note.Open([]byte(key.Endorsement), note.VerifierList(trusted...))
		if err != nil || opened.Text != "access.envisionai.dev/key/v1\n"+stated.Log+"\n"+key.Vkey+"\n" {
			continue
		}
		verifier, err := note.NewVerifier(key.Vkey)
		if err != nil {
			return err
		}
		if known, _ := note.VerifierList(trusted...).Verifier(verifier.Name(), verifier.KeyHash()); known == nil {
			trusted = append(trusted, verifier)
			fmt.Printf("key          %s endorses %s\n", opened.Sigs[0].Name, key.Vkey)
		}
	}
	return nil
}

func (of *evidence) checkpoint() error {
	found, signer, err := of.open("checkpoint")
	if err != nil {
		return err
	}
	of.head = found
	fmt.Printf("checkpoint   %s, %d records, root %s, signed by %s\n", found.origin, found.tree.N, found.tree.Hash, signer)
	return nil
}

// open opens a signed checkpoint (note.Open) and reads its three lines.
func (of *evidence) open(name string) (checkpoint, string, error) {
	content, err := os.ReadFile(filepath.Join(of.directory, name))
	if err != nil {
		return checkpoint{}, "", err
	}
	found, signer, err := of.opened(content)
	return found, signer, err
}

func (of *evidence) opened(content []byte) (checkpoint, string, error) {
	opened, err := note.Open(content, of.keys)
	if err != nil {
		return checkpoint{}, "", err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) < 4 {
		return checkpoint{}, "", errors.New("it has not three lines")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return checkpoint{}, "", err
	}
	root, err := tlog.ParseHash(lines[2])
	if err != nil {
		return checkpoint{}, "", err
	}
	signer := fmt.Sprintf("%s+%08x", opened.Sigs[0].Name, opened.Sigs[0].Hash)
	return checkpoint{lines[0], tlog.Tree{N: size, Hash: root}}, signer, nil
}

func (of *evidence) lines() ([][]byte, error) {
	content, err := os.ReadFile(filepath.Join(of.directory, "records.jsonl"))
	if err != nil {
		return nil, err
	}
	return bytes.Split(bytes.TrimSuffix(content, []byte("\n")), []byte("\n")), nil
}

// subtree is a complete subtree of 1<<level records.
type subtree struct {
	level int
	hash  tlog.Hash
}

// records computes the root out of records and gaps; of records alone, tlog.TreeHash computes it too.
func (of *evidence) records() error {
	lines, err := of.lines()
	if err != nil {
		return err
	}
	var whole []subtree
	var stored hashes
	var size, held int64
	for _, line := range lines[1:] {
		parts, err := parts(line, size)
		if err != nil {
			return err
		}
		if !bytes.HasPrefix(line, []byte(`{"gap":`)) {
			added, err := tlog.StoredHashes(held, line, stored)
			if err != nil && held == size {
				return err
			}
			stored, held = append(stored, added...), held+1
		}
		for _, part := range parts {
			size += 1 << part.level
			whole = merged(append(whole, part))
		}
	}
	root := fold(whole)
	if size != of.head.tree.N || root != of.head.tree.Hash {
		return fmt.Errorf("%d records have the root %s", size, root)
	}
	if held == size {
		if root, err = tlog.TreeHash(size, stored); err != nil || root != of.head.tree.Hash {
			return fmt.Errorf("tlog.TreeHash is %s: %v", root, err)
		}
	}
	fmt.Printf("records      %d of %d, root %s\n", held, size, root)
	return nil
}

// parts returns what a line adds to the tree at a size.
func parts(line []byte, size int64) ([]subtree, error) {
	if !bytes.HasPrefix(line, []byte(`{"gap":`)) {
		return []subtree{{0, tlog.RecordHash(line)}}, nil
	}
	var found struct {
		Gap struct {
			Start, Stop int64
			Hashes      []string
		}
	}
	if err := json.Unmarshal(line, &found); err != nil {
		return nil, err
	}
	if found.Gap.Start != size {
		return nil, fmt.Errorf("a gap of %d stands at %d", found.Gap.Start, size)
	}
	var parts []subtree
	for _, text := range found.Gap.Hashes {
		level := bits.Len64(uint64(found.Gap.Stop-size)) - 1
		if size != 0 {
			level = min(level, bits.TrailingZeros64(uint64(size)))
		}
		raw, err := hex.DecodeString(text)
		if err != nil || len(raw) != tlog.HashSize || level < 0 {
			return nil, fmt.Errorf("a gap's hash is none: %q", text)
		}
		parts = append(parts, subtree{level, tlog.Hash(raw)})
		size += 1 << level
	}
	if size != found.Gap.Stop {
		return nil, fmt.Errorf("a gap reaches to %d, not %d", size, found.Gap.Stop)
	}
	return parts, nil
}

func merged(whole []subtree) []subtree {
	for len(whole) > 1 && whole[len(whole)-1].level == whole[len(whole)-2].level {
		left, right := whole[len(whole)-2], whole[len(whole)-1]
		whole = append(whole[:len(whole)-2], subtree{left.level + 1, tlog.NodeHash(left.hash, right.hash)})
	}
	return whole
}

func fold(whole []subtree) tlog.Hash {
	if len(whole) == 0 {
		return sha256.Sum256(nil)
	}
	root := whole[len(whole)-1].hash
	for at := len(whole) - 2; at >= 0; at-- {
		root = tlog.NodeHash(whole[at].hash, root)
	}
	return root
}

type hashes []tlog.Hash

func (stored hashes) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	found := make([]tlog.Hash, len(indexes))
	for at, index := range indexes {
		if index >= int64(len(stored)) {
			return nil, fmt.Errorf("there is no hash %d", index)
		}
		found[at] = stored[index]
	}
	return found, nil
}

func (of *evidence) consistency() error {
	before, _, err := of.open("previous-checkpoint")
	if err != nil {
		return err
	}
	content, err := os.ReadFile(filepath.Join(of.directory, "consistency"))
	if err != nil {
		return fmt.Errorf("there is no proof: %s", err)
	}
	path, err := path(string(content))
	if err != nil {
		return err
	}
	if before.origin != of.head.origin {
		return fmt.Errorf("%s is not %s", before.origin, of.head.origin)
	}
	if err := tlog.CheckTree(path, of.head.tree.N, of.head.tree.Hash, before.tree.N, before.tree.Hash); err != nil {
		return err
	}
	fmt.Printf("consistency  %d records grew out of %d, by %d hashes\n", of.head.tree.N, before.tree.N, len(path))
	return nil
}

func path(text string) ([]tlog.Hash, error) {
	var path []tlog.Hash
	for _, line := range strings.Fields(text) {
		hash, err := tlog.ParseHash(line)
		if err != nil {
			return nil, err
		}
		path = append(path, hash)
	}
	return path, nil
}

func (of *evidence) proofs() error {
	names, err := filepath.Glob(filepath.Join(of.directory, "proofs", "*.tlog-proof"))
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := of.proof(name); err != nil {
			return fmt.Errorf("%s: %w", filepath.Base(name), err)
		}
	}
	return nil
}

// proof checks a C2SP tlog-proof: a header, the record, its index, the path, and a checkpoint.
func (of *evidence) proof(name string) error {
	content, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	above, signed, _ := strings.Cut(string(content), "\n\n")
	lines := strings.Split(above, "\n")
	if len(lines) < 3 || lines[0] != "c2sp.org/tlog-proof@v1" {
		return errors.New("it is no proof of a record")
	}
	record, err := base64.StdEncoding.Strict().DecodeString(strings.TrimPrefix(lines[1], "extra "))
	if err != nil {
		return err
	}
	index, err := strconv.ParseInt(strings.TrimPrefix(lines[2], "index "), 10, 64)
	if err != nil {
		return err
	}
	path, err := path(strings.Join(lines[3:], "\n"))
	if err != nil {
		return err
	}
	head, _, err := of.opened([]byte(signed))
	if err != nil {
		return err
	}
	if err := tlog.CheckRecord(path, head.tree.N, head.tree.Hash, index, tlog.RecordHash(record)); err != nil {
		return err
	}
	fmt.Printf("proof        record %d of %d, by %d hashes\n", index, head.tree.N, len(path))
	return nil
}

func (of *evidence) manifest() error {
	signed, err := os.ReadFile(filepath.Join(of.directory, "manifest.note"))
	if err != nil {
		return err
	}
	opened, err := note.Open(signed, of.keys)
	if err != nil {
		return err
	}
	content, err := os.ReadFile(filepath.Join(of.directory, "manifest.json"))
	if err != nil {
		return fmt.Errorf("there is no manifest: %s", err)
	}
	size := of.head.tree.N
	if text := fmt.Sprintf("access.envisionai.dev/bundle/v1\n%s\n%d\n%x\n", of.head.origin, size, sha256.Sum256(content)); opened.Text != text {
		return errors.New("another manifest was signed")
	}
	var said struct {
		Files map[string]struct{ Sha256 string }
	}
	if err := json.Unmarshal(content, &said); err != nil {
		return err
	}
	for name, file := range said.Files {
		content, err := os.ReadFile(filepath.Join(of.directory, filepath.FromSlash(name)))
		if err != nil {
			return fmt.Errorf("%s: %s", name, err)
		}
		if fmt.Sprintf("%x", sha256.Sum256(content)) != file.Sha256 {
			return fmt.Errorf("%s is another file", name)
		}
	}
	fmt.Printf("manifest     signed, and %d files are as it says\n", len(said.Files))
	return nil
}
