// Package pack packs a tree of role scripts so that it can travel with a
// launch, and unpacks it over the scripts of a machine.
package pack
