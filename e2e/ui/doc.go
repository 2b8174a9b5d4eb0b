// Package ui tests the page of `spanctl ui` in Chromium.
package ui
