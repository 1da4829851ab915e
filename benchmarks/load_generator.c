// One-thread epoll load generator, protocol neutral, so that every system under test is driven by
// the *same* cheap client. A generator in Python would measure itself.
// build: gcc -O2 -o lg load_generator.c -lssl -lcrypto
//
//  lg rr   --port P [--host H] --conns N [--depth D] --secs S --req FILE [--hello FILE --hello-proto X] --proto line|fixed:L|resp|len32|csp|h2|ber
//          [--interval-us U --count K]   closed loop request/response; with --interval-us: paced publisher
//          request template: "########"  is replaced by a random 8 digit key (0..--nkeys-1)
//                            "@TTTTTTTTTTTTTTTTTTT" (@T + 18 T) is replaced by @T + 18 digit CLOCK_MONOTONIC ns
//          --window W  at most W requests under way over all connections, which take turns
//  lg sub  --port P --conns N --hello FILE --expect M [--idle-secs S]  count "@T<18 digits>" markers in whatever arrives
//  lg bulk --port P --conns N [--hello FILE] --req FILE --bytes B | --idle-ms T   time from the request to its last byte
//  lg idle --port P --conns N --hello FILE --secs S                  open, (say hello), hold
//  lg conn --port P --conns N [--tls]                                connection (TLS handshake) rate
//  lg restore --port P --conns N --hello FILE --req FILE   herd: N clients register, all go at once, come back with --req
//          in which "%%%%…" (32 of them) is replaced by the session id of the answer to --hello
//  hello template: "########" is replaced by the connection's number (8 digits), from --hello-first up
//  --proto csp   frames of docs/protocol.md: an answer is done at the frame with a request id and the END flag
//  common: --tls
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <stdint.h>
#include <errno.h>
#include <unistd.h>
#include <fcntl.h>
#include <time.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/resource.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <arpa/inet.h>
#include <openssl/ssl.h>
#include <openssl/err.h>

static uint64_t now_ns(void){struct timespec t;clock_gettime(CLOCK_MONOTONIC,&t);return t.tv_sec*1000000000ull+t.tv_nsec;}
static double cpu_s(void){struct rusage r;getrusage(RUSAGE_SELF,&r);return r.ru_utime.tv_sec+r.ru_utime.tv_usec/1e6+r.ru_stime.tv_sec+r.ru_stime.tv_usec/1e6;}
// log-linear histogram, 1/64 precision, in microseconds
#define HB (64*32)
typedef struct{uint64_t b[HB];uint64_t n;double sum;uint64_t max;}hist;
static int hidx(uint64_t us){if(us<64)return us;int e=63-__builtin_clzll(us);int m=(us>>(e-6))&63;int i=(e-5)*64+m;return i<HB?i:HB-1;}
static uint64_t hval(int i){if(i<64)return i;int e=i/64+5;int m=i%64;return (1ull<<e)|((uint64_t)m<<(e-6));}
static void hadd(hist*h,uint64_t us){h->b[hidx(us)]++;h->n++;h->sum+=us;if(us>h->max)h->max=us;}
static uint64_t hq(hist*h,double q){uint64_t t=(uint64_t)(h->n*q),c=0;if(!h->n)return 0;for(int i=0;i<HB;i++){c+=h->b[i];if(c>t)return hval(i);}return h->max;}

enum{P_LINE,P_FIXED,P_LEN32,P_H2,P_BER,P_CSP,P_RESP};
typedef struct{
  int fd;SSL*ssl;int up;              // up: connected (and TLS done)
  char*in;size_t in_len,in_cap;        // unparsed input (rr)
  char*out;size_t out_len,out_off,out_cap;
  uint64_t *ts;int th,tt,tn;           // ring of request timestamps
  uint32_t sid;                        // next h2 stream id
  int hello_left;                      // responses to hello still to skip
  int skip;                            // herd: answers to hello still to come
  char tail[32];int tail_len;          // sub: carry
  char session[32];                    // restore
  int wantw; uint64_t rx; uint64_t h2rx;
}conn;

static char*host="127.0.0.1";static int port=0,nconn=1,depth=1,use_tls=0;static double secs=5,idle_secs=3;
static long nkeys=100000,count=0,interval_us=0;static uint64_t expect=0,bulk_bytes=0;static int idle_ms=0;
static int proto=P_LINE;static size_t fixed_len=0;static int hello_resp=0;
static char*req=0,*hello=0;static size_t req_len=0,hello_len=0;static long keyoff=-1,tsoff=-1,hellooff=-1,hello_first=0;
static SSL_CTX*ctx;static int ep;
static int rampus=0,warm_ms=0,key_u32=0,window=0;static long key_first=0,sessoff=-1;

static char*slurp(const char*f,size_t*n){FILE*p=fopen(f,"rb");if(!p){perror(f);exit(2);}fseek(p,0,SEEK_END);*n=ftell(p);rewind(p);char*b=malloc(*n+1);if(fread(b,1,*n,p)!=*n)exit(2);b[*n]=0;fclose(p);return b;}
static ssize_t c_read(conn*c,void*b,size_t n){
  if(!c->ssl){ssize_t r=recv(c->fd,b,n,0);if(r==0)return 0;if(r<0)return (errno==EAGAIN)?-1:-2;return r;}
  int r=SSL_read(c->ssl,b,n);if(r>0)return r;int e=SSL_get_error(c->ssl,r);if(e==SSL_ERROR_WANT_READ||e==SSL_ERROR_WANT_WRITE)return -1;if(e==SSL_ERROR_ZERO_RETURN)return 0;return -2;}
static ssize_t c_write(conn*c,const void*b,size_t n){
  if(!c->ssl){ssize_t r=send(c->fd,b,n,MSG_NOSIGNAL);if(r<0)return (errno==EAGAIN)?-1:-2;return r;}
  int r=SSL_write(c->ssl,b,n);if(r>0)return r;int e=SSL_get_error(c->ssl,r);if(e==SSL_ERROR_WANT_READ||e==SSL_ERROR_WANT_WRITE)return -1;return -2;}
static void setw(conn*c,int w){if(c->wantw==w)return;c->wantw=w;struct epoll_event e={.events=EPOLLIN|(w?EPOLLOUT:0),.data.ptr=c};epoll_ctl(ep,EPOLL_CTL_MOD,c->fd,&e);}
static void flush(conn*c){while(c->out_off<c->out_len){ssize_t r=c_write(c,c->out+c->out_off,c->out_len-c->out_off);if(r==-1){setw(c,1);return;}if(r<=0){fprintf(stderr,"write error\n");exit(3);}c->out_off+=r;}c->out_off=c->out_len=0;setw(c,0);}
static void put(conn*c,const char*b,size_t n){if(c->out_len+n>c->out_cap){c->out_cap=(c->out_len+n)*2;c->out=realloc(c->out,c->out_cap);}memcpy(c->out+c->out_len,b,n);c->out_len+=n;}
static uint64_t rng=88172645463325252ull;static uint64_t rnd(void){rng^=rng<<13;rng^=rng>>7;rng^=rng<<17;return rng;}
static void patch_sid(char*b,size_t n,uint32_t sid){size_t o=0;while(o+9<=n){uint32_t l=((unsigned char)b[o]<<16)|((unsigned char)b[o+1]<<8)|(unsigned char)b[o+2];b[o+5]=sid>>24;b[o+6]=sid>>16;b[o+7]=sid>>8;b[o+8]=sid;o+=9+l;}}
// a random key: 8 digits, or with --key-u32 the four bytes of a msgpack uint32 (written as "\xce####" in the template)
static void put_key(char*b){uint32_t v=key_first+rnd()%nkeys;if(key_u32){b[0]=v>>24;b[1]=v>>16;b[2]=v>>8;b[3]=v;}else{char t[12];snprintf(t,sizeof t,"%08ld",(long)v);memcpy(b,t,8);}}
static void send_req(conn*c){
  size_t at=c->out_len;put(c,req,req_len);char*b=c->out+at;
  if(keyoff>=0)put_key(b+keyoff);
  if(proto==P_H2){patch_sid(b,req_len,c->sid);c->sid+=2;}
  uint64_t t=now_ns();
  if(tsoff>=0){char s[24];snprintf(s,sizeof s,"%018llu",(unsigned long long)t);memcpy(b+tsoff+2,s,18);}
  c->ts[c->th]=t;c->th=(c->th+1)%(c->tn);
}
// length of one value of the Redis protocol, 0 if it is not complete
static size_t resp_len(const unsigned char*p,size_t n){
  unsigned char*q=memchr(p,'\n',n);if(!q)return 0;
  size_t head=q-p+1;long v=atol((const char*)p+1);
  if(p[0]=='-'){fprintf(stderr,"refused: %.*s\n",(int)head,p);exit(4);}
  if(p[0]=='$'){size_t l=v<0?head:head+v+2;return n>=l?l:0;}
  if(p[0]!='*')return head;
  for(size_t o=head;;){if(v--<=0)return o;size_t u=o<n?resp_len(p+o,n-o):0;if(!u)return 0;o+=u;}}
// returns bytes consumed for one complete response, 0 if incomplete. *done=0 when only part of a response was consumed
static size_t parse(conn*c,const unsigned char*p,size_t n,int*done){
  *done=1;
  switch(proto){
  case P_LINE:{unsigned char*q=memchr(p,'\n',n);return q?(size_t)(q-p+1):0;}
  case P_FIXED:return n>=fixed_len?fixed_len:0;
  case P_RESP:return resp_len(p,n);
  case P_LEN32:{if(n<4)return 0;size_t l=((size_t)p[0]<<24)|(p[1]<<16)|(p[2]<<8)|p[3];return n>=4+l?4+l:0;}
  case P_CSP:{if(n<28)return 0;size_t l=((size_t)p[0]<<24)|(p[1]<<16)|(p[2]<<8)|p[3];if(n<4+l)return 0;
    *done=(p[6]&1)&&(p[8]|p[9]|p[10]|p[11]);if(p[4]==0&&(p[5]==2||p[5]==4)){fprintf(stderr,"refused: %.*s\n",(int)(l-24),p+28);exit(4);}return 4+l;}
  case P_H2:{if(n<9)return 0;size_t l=(p[0]<<16)|(p[1]<<8)|p[2];if(n<9+l)return 0;int ty=p[3],fl=p[4];
    *done=(ty==1&&(fl&1));
    if(ty==0){c->h2rx+=l; if(c->h2rx>(1u<<29)){char w[13]={0,0,4,8,0,0,0,0,0};uint32_t v=c->h2rx;w[9]=v>>24;w[10]=v>>16;w[11]=v>>8;w[12]=v;put(c,w,13);c->h2rx=0;}}
    if(ty==4&&!(fl&1)){char a[9]={0,0,0,4,1,0,0,0,0};put(c,a,9);}
    if(ty==6&&!(fl&1)){char a[17]={0,0,8,6,1,0,0,0,0};memcpy(a+9,p+9,8);put(c,a,17);}
    if(ty==3||ty==7){fprintf(stderr,"h2 RST/GOAWAY type %d: %.*s\n",ty,(int)l,p+9);exit(4);}
    return 9+l;}
  case P_BER:{if(n<2)return 0;size_t l,h;if(p[1]<0x80){l=p[1];h=2;}else{int k=p[1]&0x7f;if(n<2+(size_t)k)return 0;l=0;for(int i=0;i<k;i++)l=(l<<8)|p[2+i];h=2+k;}
    if(n<h+l)return 0;size_t o=h;o+=2+p[o+1];int tag=p[o];*done=!(tag==0x64||tag==0x73||tag==0x79);return h+l;}
  }return 0;}
static conn*cs;
static void put_hello(conn*c){size_t at=c->out_len;put(c,hello,hello_len);if(hellooff>=0){char t[12];snprintf(t,sizeof t,"%08ld",hello_first+(long)(c-cs));memcpy(c->out+at+hellooff,t,8);}}
static void open_all(void){
  cs=calloc(nconn,sizeof(conn));ep=epoll_create1(0);
  for(int i=0;i<nconn;i++){conn*c=&cs[i];
    c->fd=socket(AF_INET,SOCK_STREAM,0);if(c->fd<0){perror("socket");exit(2);}
    struct sockaddr_in a={.sin_family=AF_INET,.sin_port=htons(port)};inet_pton(AF_INET,host,&a.sin_addr);
    int tries=0;while(connect(c->fd,(void*)&a,sizeof a)<0){if(++tries>200){perror("connect");exit(2);}usleep(10000);}
    int one=1;setsockopt(c->fd,IPPROTO_TCP,TCP_NODELAY,&one,sizeof one);
    if(use_tls){c->ssl=SSL_new(ctx);SSL_set_fd(c->ssl,c->fd);SSL_set_connect_state(c->ssl);SSL_set_mode(c->ssl,SSL_MODE_ENABLE_PARTIAL_WRITE|SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
      if(SSL_do_handshake(c->ssl)!=1){ERR_print_errors_fp(stderr);exit(3);}}
    fcntl(c->fd,F_SETFL,O_NONBLOCK);
    c->tn=depth+1;c->ts=calloc(c->tn,8);c->sid=1;c->hello_left=hello_resp;
    struct epoll_event e={.events=EPOLLIN,.data.ptr=c};epoll_ctl(ep,EPOLL_CTL_ADD,c->fd,&e);
    if(hello){put_hello(c);flush(c);}
    if(rampus)usleep(rampus);
  }}
static void drain_answers(void){ // read and drop --hello-answers answers of each connection
  struct epoll_event ev[256];static char b[1<<16];int left=nconn;uint64_t end=now_ns()+120000000000ull;
  while(left>0){if(now_ns()>end){fprintf(stderr,"%d clients got no answer to their hello\n",left);exit(3);}
    int n=epoll_wait(ep,ev,256,100);for(int i=0;i<n;i++){conn*c=ev[i].data.ptr;if(ev[i].events&EPOLLOUT)flush(c);
      for(;;){ssize_t r=c_read(c,b,sizeof b);if(r==-1)break;if(r<=0){fprintf(stderr,"closed in hello\n");exit(3);}
        if(c->in_len+r>c->in_cap){c->in_cap=(c->in_len+r)*2;c->in=realloc(c->in,c->in_cap);}memcpy(c->in+c->in_len,b,r);c->in_len+=r;
        size_t o=0,u;int d;while(c->hello_left>0&&(u=parse(c,(unsigned char*)c->in+o,c->in_len-o,&d))){o+=u;if(d&&!--c->hello_left)left--;}
        memmove(c->in,c->in+o,c->in_len-o);c->in_len-=o;}}}}
static void drain_small(void){ // read and drop hello answers for 300 ms, unless it is known how many there are
  if(hello_resp){drain_answers();return;}
  struct epoll_event ev[256];char b[65536];uint64_t end=now_ns()+300000000ull;
  while(now_ns()<end){int n=epoll_wait(ep,ev,256,20);for(int i=0;i<n;i++){conn*c=ev[i].data.ptr;ssize_t r=c_read(c,b,sizeof b);if(r==0||r==-2){fprintf(stderr,"closed in hello\n");exit(3);}
     if(proto==P_H2&&r>0){/* ack settings */char a[9]={0,0,0,4,1,0,0,0,0};put(c,a,9);flush(c);}}}}
static int mode_rr(void){
  open_all();if(hello)drain_small();if(warm_ms)usleep(warm_ms*1000);
  static hist h;uint64_t done=0,bytes=0;double c0=cpu_s();uint64_t t0=now_ns(),end=t0+(uint64_t)(secs*1e9);
  struct epoll_event ev[512];static char buf[1<<18];
  int turn=window%nconn;if(window)for(int i=0;i<window;i++){send_req(&cs[i%nconn]);flush(&cs[i%nconn]);}
  else if(!interval_us)for(int i=0;i<nconn;i++){for(int d=0;d<depth;d++)send_req(&cs[i]);flush(&cs[i]);}
  uint64_t next=t0;long sent=0;
  for(;;){uint64_t t=now_ns();
    if(interval_us){if(!count&&t>=end)break;if(count&&sent>=count&&done>=(uint64_t)sent)break;while((sent<count||!count)&&t>=next){conn*c=&cs[sent%nconn];if((c->th+1)%c->tn==c->tt)break;send_req(c);flush(c);sent++;next+=interval_us*1000ull;}
      if(t>end+5000000000ull&&sent>=count){fprintf(stderr,"%ld of %ld requests were not answered\n",sent-(long)done,sent);break;}}
    else if(t>=end)break;
    int to=100;if(interval_us){int more=sent<count||!count;to=next>t&&more?(int)((next-t)/1000000):(more?0:50);}
    int n=epoll_wait(ep,ev,512,to);
    for(int i=0;i<n;i++){conn*c=ev[i].data.ptr;
      if(ev[i].events&EPOLLOUT)flush(c);
      if(!(ev[i].events&EPOLLIN))continue;
      for(;;){ssize_t r=c_read(c,buf,sizeof buf);if(r==-1)break;if(r<=0){fprintf(stderr,"peer closed\n");exit(3);}
        bytes+=r;char*p=buf;size_t len=r;
        if(c->in_len){if(c->in_len+r>c->in_cap){c->in_cap=(c->in_len+r)*2;c->in=realloc(c->in,c->in_cap);}memcpy(c->in+c->in_len,buf,r);p=c->in;len=c->in_len+r;}
        size_t o=0;int k=0;while(o<len){int d;size_t u=parse(c,(unsigned char*)p+o,len-o,&d);if(!u)break;o+=u;if(!d)continue;
          if(c->tt!=c->th){hadd(&h,(now_ns()-c->ts[c->tt])/1000);c->tt=(c->tt+1)%c->tn;done++;k++;}}
        if(window)while(k--){send_req(&cs[turn]);flush(&cs[turn]);turn=(turn+1)%nconn;}
        else if(!interval_us)while(k--)send_req(c);
        size_t rest=len-o;if(rest){if(rest>c->in_cap){char*nb=malloc(rest*2);memcpy(nb,p+o,rest);free(c->in);c->in=nb;c->in_cap=rest*2;}else memmove(c->in,p+o,rest);}c->in_len=rest;
        if(c->out_len)flush(c);
        if((size_t)r<sizeof buf&&!c->ssl)break;}
    }}
  double el=(now_ns()-t0)/1e9;double cpu=cpu_s()-c0;
  printf("{\"mode\":\"rr\",\"conns\":%d,\"depth\":%d,\"secs\":%.2f,\"done\":%llu,\"per_s\":%.0f,\"MBps\":%.1f,\"p50_us\":%llu,\"p99_us\":%llu,\"p999_us\":%llu,\"max_us\":%llu,\"lg_cpu\":%.2f}\n",nconn,depth,el,(unsigned long long)done,done/el,bytes/el/1e6,(unsigned long long)hq(&h,.5),(unsigned long long)hq(&h,.99),(unsigned long long)hq(&h,.999),(unsigned long long)h.max,cpu/el);
  return 0;}
typedef struct{uint64_t ts;uint32_t n;}slot;
static int mode_sub(void){
  uint64_t tc0=now_ns();open_all();if(hello&&proto==P_H2)drain_small();fprintf(stderr,"READY %d in %.2fs\n",nconn,(now_ns()-tc0)/1e9);fflush(stderr);
  static hist h,hc;uint64_t got=0,bytes=0,first=0,last=0,msgs=0;double c0=cpu_s();
  static slot S[1<<16];struct epoll_event ev[1024];static char buf[(1<<20)+64];uint64_t idle0=now_ns();double cpu_first=c0;uint64_t first_ts=0;
  for(;;){int n=epoll_wait(ep,ev,1024,100);uint64_t t=now_ns();
    if(n==0){if(got>=expect&&expect)break;if(t-idle0>(uint64_t)(idle_secs*1e9))break;continue;}
    for(int i=0;i<n;i++){conn*c=ev[i].data.ptr;
      if(ev[i].events&EPOLLOUT)flush(c);
      memcpy(buf,c->tail,c->tail_len);ssize_t r=c_read(c,buf+c->tail_len,1<<20);
      if(r==-1)continue;if(r<=0){fprintf(stderr,"peer closed a subscriber after %llu bytes\n",(unsigned long long)c->rx);epoll_ctl(ep,EPOLL_CTL_DEL,c->fd,0);close(c->fd);continue;}
      if(!first){first=now_ns();cpu_first=cpu_s();}idle0=t;bytes+=r;c->rx+=r;size_t len=c->tail_len+r;char*p=buf,*e=buf+len;uint64_t tn=now_ns();
      for(;;){char*q=memmem(p,e-p,"@T",2);if(!q){c->tail_len=(e>buf&&e[-1]=='@')?1:0;if(c->tail_len)c->tail[0]='@';break;}
        if(e-q<20){c->tail_len=e-q;memcpy(c->tail,q,c->tail_len);break;}
        uint64_t v=0;int ok=1;for(int k=2;k<20;k++){if(q[k]<'0'||q[k]>'9'){ok=0;break;}v=v*10+(q[k]-'0');}
        if(!ok){p=q+2;continue;}
        p=q+20;got++;last=tn;if(!first_ts||v<first_ts)first_ts=v;hadd(&h,(tn-v)/1000);
        uint32_t k=(v/1000*2654435761u)&0xffff;while(S[k].ts&&S[k].ts!=v)k=(k+1)&0xffff;S[k].ts=v;if(++S[k].n==(uint32_t)nconn){hadd(&hc,(tn-v)/1000);msgs++;S[k].n=0;}
      }
      // h2 flow control: windows were opened to 2^31-1 in the hello
    }
    if(expect&&got>=expect)break;}
  double el=(last-first_ts)/1e9;double cpu=cpu_s()-cpu_first;
  printf("{\"mode\":\"sub\",\"conns\":%d,\"delivered\":%llu,\"expected\":%llu,\"complete_msgs\":%llu,\"span_s\":%.3f,\"deliv_per_s\":%.0f,\"MBps\":%.1f,\"p50_us\":%llu,\"p99_us\":%llu,\"p999_us\":%llu,\"max_us\":%llu,\"all_p50_us\":%llu,\"all_p99_us\":%llu,\"all_max_us\":%llu,\"lg_cpu\":%.2f}\n",nconn,(unsigned long long)got,(unsigned long long)expect,(unsigned long long)msgs,el,got/el,bytes/el/1e6,(unsigned long long)hq(&h,.5),(unsigned long long)hq(&h,.99),(unsigned long long)hq(&h,.999),(unsigned long long)h.max,(unsigned long long)hq(&hc,.5),(unsigned long long)hq(&hc,.99),(unsigned long long)hc.max,cpu/((last-first)/1e9+1e-9));
  return 0;}
static int mode_bulk(void){
  // every connection asks; total expected = bulk_bytes * nconn
  uint64_t t0=now_ns();open_all();if(hello)drain_small();if(warm_ms)usleep(warm_ms*1000);
  if(req){t0=now_ns();for(int i=0;i<nconn;i++){send_req(&cs[i]);flush(&cs[i]);}}
  double c0=cpu_s();uint64_t got=0,last=now_ns(),firstb=0;struct epoll_event ev[256];static char buf[1<<20];uint64_t want=bulk_bytes*nconn;
  while(!want||got<want){int n=epoll_wait(ep,ev,256,50);uint64_t t=now_ns();if(n==0){if(got&&idle_ms&&t-last>(uint64_t)idle_ms*1000000ull)break;if(t-last>20000000000ull){fprintf(stderr,"timeout\n");break;}continue;}
    for(int i=0;i<n;i++){conn*c=ev[i].data.ptr;if(ev[i].events&EPOLLOUT)flush(c);ssize_t r=c_read(c,buf,sizeof buf);if(r==-1)continue;if(r<=0)goto out;got+=r;last=now_ns();if(!firstb)firstb=last;
      if(proto==P_H2){c->h2rx+=r;if(c->h2rx>(1u<<28)){char w[13]={0,0,4,8,0,0,0,0,0};uint32_t v=c->h2rx;w[9]=v>>24;w[10]=v>>16;w[11]=v>>8;w[12]=v;put(c,w,13);flush(c);c->h2rx=0;}}
    }}
out:;double el=(last-t0)/1e9;printf("{\"mode\":\"bulk\",\"conns\":%d,\"bytes\":%llu,\"secs\":%.4f,\"ttfb_ms\":%.2f,\"MBps\":%.1f,\"lg_cpu\":%.2f}\n",nconn,(unsigned long long)got,el,(firstb-t0)/1e6,got/el/1e6,(cpu_s()-c0)/el);return 0;}
static int mode_idle(void){uint64_t t0=now_ns();open_all();fprintf(stderr,"READY %d in %.2fs\n",nconn,(now_ns()-t0)/1e9);struct epoll_event ev[256];char b[65536];uint64_t end=now_ns()+(uint64_t)(secs*1e9);
  while(now_ns()<end){int n=epoll_wait(ep,ev,256,50);for(int i=0;i<n;i++){conn*c=ev[i].data.ptr;ssize_t r=c_read(c,b,sizeof b);if(r==0||r==-2){epoll_ctl(ep,EPOLL_CTL_DEL,c->fd,0);close(c->fd);fprintf(stderr,"closed\n");}}}return 0;}
static int mode_conn(void){uint64_t t0=now_ns();double c0=cpu_s();open_all();double el=(now_ns()-t0)/1e9;printf("{\"mode\":\"conn\",\"tls\":%d,\"conns\":%d,\"secs\":%.3f,\"per_s\":%.0f,\"lg_cpu\":%.2f}\n",use_tls,nconn,el,nconn/el,(cpu_s()-c0)/el);return 0;}
// reconnect storm: N connections opened at once, each (TLS) connects, says hello, sends one request, waits for one response
static int mode_herd(conn*old){
  cs=calloc(nconn,sizeof(conn));ep=epoll_create1(0);static hist h;memset(&h,0,sizeof h);uint64_t t0=now_ns();double c0=cpu_s();int done=0,opened=0,fail=0;
  static char buf[1<<18];struct epoll_event ev[1024];uint64_t last=t0;
  while(done+fail<nconn){
    while(opened<nconn&&opened-done-fail<depth){conn*c=&cs[opened++];c->fd=socket(AF_INET,SOCK_STREAM|SOCK_NONBLOCK,0);if(c->fd<0){perror("socket");exit(2);}
      int one=1;setsockopt(c->fd,IPPROTO_TCP,TCP_NODELAY,&one,sizeof one);
      struct sockaddr_in a={.sin_family=AF_INET,.sin_port=htons(port)};inet_pton(AF_INET,host,&a.sin_addr);
      c->tn=2;c->ts=calloc(2,8);c->sid=1;c->ts[0]=now_ns();c->tail_len=0;c->skip=hello_resp;
      if(connect(c->fd,(void*)&a,sizeof a)<0&&errno!=EINPROGRESS){perror("connect");exit(2);}
      struct epoll_event e={.events=EPOLLIN|EPOLLOUT,.data.ptr=c};epoll_ctl(ep,EPOLL_CTL_ADD,c->fd,&e);c->wantw=1;}
    int n=epoll_wait(ep,ev,1024,1000);if(n==0&&now_ns()-last>30000000000ull){fprintf(stderr,"herd timeout done=%d\n",done);break;}
    for(int i=0;i<n;i++){conn*c=ev[i].data.ptr;
      if(!c->up){
        if(!use_tls){if(!(ev[i].events&EPOLLOUT))continue;int er=0;socklen_t l=sizeof er;getsockopt(c->fd,SOL_SOCKET,SO_ERROR,&er,&l);if(er){fail++;close(c->fd);continue;}c->up=1;}
        else{if(!c->ssl){c->ssl=SSL_new(ctx);SSL_set_fd(c->ssl,c->fd);SSL_set_connect_state(c->ssl);SSL_set_mode(c->ssl,SSL_MODE_ENABLE_PARTIAL_WRITE|SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);}
          int r=SSL_do_handshake(c->ssl);if(r!=1){int e=SSL_get_error(c->ssl,r);if(e==SSL_ERROR_WANT_READ)setw(c,0);else if(e==SSL_ERROR_WANT_WRITE)setw(c,1);else{fail++;epoll_ctl(ep,EPOLL_CTL_DEL,c->fd,0);close(c->fd);}continue;}c->up=1;}
        if(hello)put_hello(c);
        size_t at=c->out_len;put(c,req,req_len);if(keyoff>=0)put_key(c->out+at+keyoff);if(proto==P_H2){patch_sid(c->out+at,req_len,1);}
        if(old)memcpy(c->out+at+sessoff,old[c-cs].session,32);
        flush(c);
      } else if(ev[i].events&EPOLLOUT)flush(c);
      if(!(ev[i].events&EPOLLIN))continue;
      for(;;){ssize_t r=c_read(c,buf,sizeof buf);if(r==-1)break;if(r<=0){fail++;epoll_ctl(ep,EPOLL_CTL_DEL,c->fd,0);close(c->fd);break;}
        last=now_ns();
        if(c->in_len+r>c->in_cap){c->in_cap=(c->in_len+r)*2;c->in=realloc(c->in,c->in_cap);}memcpy(c->in+c->in_len,buf,r);c->in_len+=r;
        size_t o=0;while(o<c->in_len&&!c->hello_left){int d;size_t u=parse(c,(unsigned char*)c->in+o,c->in_len-o,&d);if(!u)break;
          char*s=proto==P_CSP?memmem(c->in+o,u,"session\xd9\x20",9):0;if(s)memcpy(c->session,s+9,32);
          o+=u;if(d){if(c->skip){c->skip--;continue;}hadd(&h,(last-c->ts[0])/1000);done++;c->hello_left=1;}}
        memmove(c->in,c->in+o,c->in_len-o);c->in_len-=o;if(c->out_len)flush(c);
        if((size_t)r<sizeof buf&&!c->ssl)break;}
    }}
  double el=(last-t0)/1e9;printf("{\"mode\":\"herd\",\"tls\":%d,\"conns\":%d,\"ok\":%d,\"fail\":%d,\"secs\":%.3f,\"per_s\":%.0f,\"p50_us\":%llu,\"p99_us\":%llu,\"p999_us\":%llu,\"max_us\":%llu,\"lg_cpu\":%.2f}\n",use_tls,nconn,done,fail,el,done/el,(unsigned long long)hq(&h,.5),(unsigned long long)hq(&h,.99),(unsigned long long)hq(&h,.999),(unsigned long long)h.max,(cpu_s()-c0)/el);return 0;}
// sessions that come back: all register, all connections are cut at once, all restore their session
static int mode_restore(void){
  char*again=req;size_t again_len=req_len,skip=hello_resp;req=hello;req_len=hello_len;hello=0;keyoff=hellooff=-1;
  char*k=memmem(again,again_len,"%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%",32);if(!k){fprintf(stderr,"no place for the session id\n");return 2;}sessoff=k-again;
  int most=depth;depth=200;fflush(stdout);int out=dup(1);if(!freopen("/dev/null","w",stdout))return 2; // the first herd is not what is measured
  if(mode_herd(0))return 3;
  fflush(stdout);dup2(out,1);
  conn*old=cs;struct linger cut={1,0};
  for(int i=0;i<nconn;i++){if(!old[i].session[0]){fprintf(stderr,"client %d got no session\n",i);return 3;}setsockopt(old[i].fd,SOL_SOCKET,SO_LINGER,&cut,sizeof cut);close(old[i].fd);}
  close(ep);usleep(1000000);
  req=again;req_len=again_len;hello_resp=skip;depth=most;return mode_herd(old);}
int main(int ac,char**av){
  if(ac<2)return 2;char*mode=av[1];
  for(int i=2;i<ac;i++){char*a=av[i];
#define V (av[++i])
    if(!strcmp(a,"--tls"))use_tls=1;else if(i+1>=ac){fprintf(stderr,"arg %s\n",a);return 2;}
    else if(!strcmp(a,"--port"))port=atoi(V);else if(!strcmp(a,"--host"))host=V;else if(!strcmp(a,"--conns"))nconn=atoi(V);else if(!strcmp(a,"--depth"))depth=atoi(V);
    else if(!strcmp(a,"--secs"))secs=atof(V);else if(!strcmp(a,"--idle-secs"))idle_secs=atof(V);else if(!strcmp(a,"--req"))req=slurp(V,&req_len);else if(!strcmp(a,"--hello"))hello=slurp(V,&hello_len);
    else if(!strcmp(a,"--nkeys"))nkeys=atol(V);else if(!strcmp(a,"--key-first"))key_first=atol(V);else if(!strcmp(a,"--hello-first"))hello_first=atol(V);else if(!strcmp(a,"--key-u32"))key_u32=1;else if(!strcmp(a,"--hello-answers"))hello_resp=atoi(V);else if(!strcmp(a,"--interval-us"))interval_us=atol(V);else if(!strcmp(a,"--count"))count=atol(V);else if(!strcmp(a,"--expect"))expect=strtoull(V,0,10);
    else if(!strcmp(a,"--bytes"))bulk_bytes=strtoull(V,0,10);else if(!strcmp(a,"--idle-ms"))idle_ms=atoi(V);else if(!strcmp(a,"--ramp-us"))rampus=atoi(V);else if(!strcmp(a,"--warm-ms"))warm_ms=atoi(V);else if(!strcmp(a,"--window"))window=atoi(V);
    else if(!strcmp(a,"--proto")){char*p=V;if(!strcmp(p,"line"))proto=P_LINE;else if(!strncmp(p,"fixed:",6)){proto=P_FIXED;fixed_len=atol(p+6);}else if(!strcmp(p,"resp"))proto=P_RESP;else if(!strcmp(p,"len32"))proto=P_LEN32;else if(!strcmp(p,"csp"))proto=P_CSP;else if(!strcmp(p,"h2"))proto=P_H2;else if(!strcmp(p,"ber"))proto=P_BER;else return 2;}
    else{fprintf(stderr,"unknown %s\n",a);return 2;}}
  if(hello){char*k=memmem(hello,hello_len,"########",8);if(k)hellooff=k-hello;}
  if(req&&key_u32){char*k=memmem(req,req_len,"\xce####",5);if(k)keyoff=k-req+1;}
  else if(req){char*k=memmem(req,req_len,"########",8);if(k)keyoff=k-req;}
  if(req){char*k=memmem(req,req_len,"@TTTTTTTTTTTTTTTTTT",19);if(k)tsoff=k-req;}
  if(use_tls){ctx=SSL_CTX_new(TLS_client_method());SSL_CTX_set_verify(ctx,SSL_VERIFY_NONE,0);}
  if(!strcmp(mode,"rr"))return mode_rr();if(!strcmp(mode,"sub"))return mode_sub();if(!strcmp(mode,"bulk"))return mode_bulk();if(!strcmp(mode,"idle"))return mode_idle();if(!strcmp(mode,"conn"))return mode_conn();if(!strcmp(mode,"herd")||!strcmp(mode,"restore")){if(depth==1)depth=1<<30;return *mode=='h'?mode_herd(0):mode_restore();}
  return 2;}
