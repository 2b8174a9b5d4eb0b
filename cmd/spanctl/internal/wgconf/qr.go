package wgconf

import (
	"bytes"
	"fmt"

	"github.com/mdp/qrterminal/v3"
	"rsc.io/qr"
)

// quietZone is the margin of a code in a terminal, in modules: half of what ISO/IEC 18004 asks for,
// which phones read, so that the code fits in 80 columns.
const quietZone = 2

// QR returns the config as a QR code of lines of text, as the apps of WireGuard scan it. It is dark
// on a light background where the terminal writes light text on a dark one.
func QR(c *Config) (string, error) {
	text := WGQuick(c)
	if _, err := encode(text); err != nil {
		return "", err // the library prints nothing for it
	}
	var out bytes.Buffer
	qrterminal.GenerateWithConfig(text, qrterminal.Config{Level: qr.L, Writer: &out, HalfBlocks: true, QuietZone: quietZone,
		BlackChar: qrterminal.BLACK_BLACK, BlackWhiteChar: qrterminal.BLACK_WHITE,
		WhiteChar: qrterminal.WHITE_WHITE, WhiteBlackChar: qrterminal.WHITE_BLACK})
	return out.String(), nil
}

// PNG returns the config as a picture with the QR code.
func PNG(c *Config) ([]byte, error) {
	code, err := encode(WGQuick(c))
	if err != nil {
		return nil, err
	}
	return code.PNG(), nil
}

// encode returns the QR code of a text. The least redundancy makes it smallest.
func encode(text string) (*qr.Code, error) {
	code, err := qr.Encode(text, qr.L)
	if err != nil {
		return nil, fmt.Errorf("encode %d bytes as a QR code, which holds 2,953: %w; write wg-quick's file instead, or route fewer networks", len(text), err)
	}
	return code, nil
}
