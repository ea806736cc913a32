// Package ssh gets instances by using machines that run already: it logs in to
// them by SSH, leaves the agent and its bootstrap document there, and takes
// both away at the end.
package ssh
