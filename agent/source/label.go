package source

import (
	"bytes"
	"encoding/binary"
	"io"
	"strings"
)

// File systems of drives that clouds make.
const (
	iso9660 = "iso9660"
	vfat    = "vfat"
)

// maxRoot is how much of a FAT's root directory is looked through, in bytes.
const maxRoot = 16 << 10

// label finds out what a drive is called, and how it is to be mounted; empty
// when it is neither an ISO 9660 nor a FAT file system.
func label(drive io.ReaderAt) (name, filesystem string) {
	if name, ok := isoLabel(drive); ok {
		return name, iso9660
	}
	if name, ok := fatLabel(drive); ok {
		return name, vfat
	}
	return "", ""
}

// isoLabel reads the first volume descriptor, in the sector 16.
func isoLabel(drive io.ReaderAt) (name string, ok bool) {
	var d [72]byte
	if n, _ := drive.ReadAt(d[:], 16*2048); n < len(d) || d[0] != 1 || string(d[1:6]) != "CD001" {
		return "", false
	}
	return padded(d[40:72]), true
}

// fatLabel reads the label in the root directory, where every system changes
// it, else that in the first sector.
func fatLabel(drive io.ReaderAt) (name string, ok bool) {
	b := make([]byte, 512)
	if n, _ := drive.ReadAt(b, 0); n < len(b) || b[510] != 0x55 || b[511] != 0xAA {
		return "", false
	}
	word := func(at int) int64 { return int64(binary.LittleEndian.Uint16(b[at:])) }
	long := func(at int) int64 { return int64(binary.LittleEndian.Uint32(b[at:])) }
	sector, cluster, reserved, tables := word(11), int64(b[13]), word(14), int64(b[16])
	if sector < 512 || sector > 4096 || sector&(sector-1) != 0 || cluster == 0 || cluster&(cluster-1) != 0 ||
		reserved == 0 || tables == 0 || tables > 4 || b[21] < 0xF0 {
		return "", false // a table of partitions ends with the same two bytes
	}
	var root, size int64
	var extension []byte // a mark, a serial number, the label
	if table := word(22); table != 0 {
		root, size = (reserved+tables*table)*sector, word(17)*32
		extension = b[38:54]
	} else {
		root, size = (reserved+tables*long(36)+(long(44)-2)*cluster)*sector, cluster*sector
		extension = b[66:82]
	}
	if root > 0 {
		entries := make([]byte, min(size, maxRoot))
		n, _ := drive.ReadAt(entries, root)
		if name, ok := volumeEntry(entries[:n]); ok {
			return name, true
		}
	}
	if name := padded(extension[5:16]); extension[0] == 0x29 && name != "NO NAME" {
		return name, true
	}
	return "", true
}

// volumeEntry finds the label among the entries of a FAT's root directory.
func volumeEntry(entries []byte) (name string, ok bool) {
	const volume, directory, long = 0x08, 0x10, 0x0F
	for ; len(entries) >= 32 && entries[0] != 0; entries = entries[32:] {
		attributes := entries[11]
		if entries[0] != 0xE5 && attributes&long != long && attributes&volume != 0 && attributes&directory == 0 {
			return padded(entries[:11]), true
		}
	}
	return "", false
}

// padded is a text in a field that is filled up with blanks.
func padded(field []byte) string {
	field, _, _ = bytes.Cut(field, []byte{0})
	return strings.TrimRight(string(field), " ")
}
