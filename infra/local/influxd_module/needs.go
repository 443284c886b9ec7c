// Package influxd names the program that infra/local builds, so that go.mod and go.sum pin it with all that it is made of.
package influxd

import _ "github.com/influxdata/influxdb/v2/cmd/influxd"
