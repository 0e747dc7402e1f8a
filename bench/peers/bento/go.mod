module peer

go 1.26.5

require github.com/warpstreamlabs/bento v1.20.0
