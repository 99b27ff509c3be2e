module github.com/lowkeylm/lowkey

go 1.26
